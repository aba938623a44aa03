package main

import (
	gojson "encoding/json"
	"errors"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// strategic applies a strategic merge patch to an object of a built-in kind.
func strategic(gvk schema.GroupVersionKind, original, patch []byte, given *answer) error {
	object, err := scheme.New(gvk)
	if err != nil {
		return err
	}
	var base, change map[string]interface{}
	if err := errors.Join(json.Unmarshal(original, &base), json.Unmarshal(patch, &change)); err != nil {
		return err
	}
	meta, err := strategicpatch.NewPatchMetaFromStruct(object)
	if err != nil {
		return err
	}
	merged, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(base, change, meta)
	if err != nil {
		return err
	}
	given.JSON, err = gojson.Marshal(merged)
	return err
}

func merge(original, patch []byte, given *answer) error {
	merged, err := jsonpatch.MergePatch(original, patch)
	given.JSON = merged
	return err
}

func jsonPatch(original, patch []byte, given *answer) error {
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return err
	}
	patched, err := operations.Apply(original)
	given.JSON = patched
	return err
}
