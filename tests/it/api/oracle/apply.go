package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// writing is a write whose owners are to be found.
type writing struct {
	Manager     string                     `json:"manager"`
	Subresource string                     `json:"subresource"`
	Applies     bool                       `json:"applies"`
	Force       bool                       `json:"force"`
	Reset       [][]string                 `json:"reset"`
	Now         string                     `json:"now"`    // what the time of a new entry becomes
	Models      map[string]json.RawMessage `json:"models"` // OpenAPI schemas, for custom resources
}

// builtin knows the types of all built-in kinds.
var builtin = applyconfigurations.NewTypeConverter(scheme)

// plain makes objects of known kinds what the server would make of them.
type plain struct{}

func (plain) Convert(in, out, context interface{}) error {
	return fmt.Errorf("not needed")
}

func (plain) ConvertFieldLabel(schema.GroupVersionKind, string, string) (string, string, error) {
	return "", "", fmt.Errorf("not needed")
}

func (plain) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	object, ok := in.(*unstructured.Unstructured)
	gvk := in.GetObjectKind().GroupVersionKind()
	if !ok || !scheme.Recognizes(gvk) {
		return in, nil
	}
	typed, err := scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		return nil, err
	}
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	return untyped(typed)
}

func untyped(typed runtime.Object) (runtime.Object, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	return &unstructured.Unstructured{Object: fields}, err
}

func (plain) Default(runtime.Object) {}

func (plain) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if !scheme.Recognizes(gvk) {
		object := &unstructured.Unstructured{Object: map[string]interface{}{}}
		object.SetGroupVersionKind(gvk)
		return object, nil
	}
	typed, err := scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	return untyped(typed)
}

func (w writing) types() (managedfields.TypeConverter, error) {
	if w.Models == nil {
		return builtin, nil
	}
	if len(w.Models) == 0 {
		return managedfields.NewDeducedTypeConverter(), nil
	}
	models := map[string]*spec.Schema{}
	for name, text := range w.Models {
		model := &spec.Schema{}
		if err := json.Unmarshal(text, model); err != nil {
			return nil, err
		}
		models[name] = model
	}
	return managedfields.NewTypeConverter(models, false)
}

// manage writes an object as a manager does and answers with the object and its managed fields.
// Without an original the object is new.
func manage(gvk schema.GroupVersionKind, original, given []byte, w writing, result *answer) error {
	types, err := w.types()
	if err != nil {
		return err
	}
	reset := fieldpath.NewSet()
	for _, path := range w.Reset {
		steps := make([]interface{}, len(path))
		for i := range path {
			steps[i] = path[i]
		}
		reset.Insert(fieldpath.MakePathOrDie(steps...))
	}
	version := fieldpath.APIVersion(gvk.GroupVersion().String())
	filters := fieldpath.NewExcludeFilterSetMap(map[fieldpath.APIVersion]*fieldpath.Set{version: reset})
	owners, err := managedfields.NewDefaultFieldManager(types, plain{}, plain{}, plain{}, gvk, gvk.GroupVersion(), w.Subresource, filters)
	if err != nil {
		return err
	}
	live, err := plain{}.New(gvk)
	if err == nil && len(original) > 0 && string(original) != "null" {
		live, err = parse(original)
	}
	if err != nil {
		return err
	}
	object, err := parse(given)
	if err != nil {
		return err
	}
	written := runtime.Object(nil)
	if w.Applies {
		written, err = owners.Apply(live, object, w.Manager, w.Force)
	} else {
		written, err = owners.Update(live, object, w.Manager)
	}
	if err != nil {
		return err
	}
	w.date(written.(*unstructured.Unstructured))
	stored, err := asStored(written.(*unstructured.Unstructured))
	if err == nil {
		result.JSON, err = json.Marshal(stored)
	}
	return err
}

// asStored gives an object the form in which it comes back from the store: of known kinds protobuf
// drops what is empty, of others the metadata is typed.
func asStored(object *unstructured.Unstructured) (runtime.Object, error) {
	gvk := object.GroupVersionKind()
	if !scheme.Recognizes(gvk) {
		var metadata metav1.ObjectMeta
		fields, _ := object.Object["metadata"].(map[string]interface{})
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &metadata)
		if err == nil {
			object.Object["metadata"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(&metadata)
		}
		return object, err
	}
	typed, err := scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		return nil, err
	}
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	var packed bytes.Buffer
	if err := protobufWire.Encode(typed, &packed); err != nil {
		return nil, err
	}
	stored, _, err := protobufWire.Decode(packed.Bytes(), &gvk, nil)
	return stored, err
}

func parse(text []byte) (runtime.Object, error) {
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(text)
}

// date gives entries that were written just now the time that was asked for.
func (w writing) date(object *unstructured.Unstructured) {
	now, err := time.Parse(time.RFC3339, w.Now)
	if err != nil {
		return
	}
	entries := object.GetManagedFields()
	for i := range entries {
		if entries[i].Time != nil && time.Since(entries[i].Time.Time) < time.Hour {
			entries[i].Time.Time = now
		}
	}
	object.SetManagedFields(entries)
}
