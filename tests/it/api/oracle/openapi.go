package main

import (
	"fmt"
	"sort"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	openapi_proto "k8s.io/kube-openapi/pkg/util/proto"
	"sigs.k8s.io/yaml"
)

// openapiV2 reads a document in JSON and in protobuf as kubectl does, and lists what the two do
// not have in common, and the kinds that kubectl finds in it.
func openapiV2(text, packed []byte, given *answer) error {
	fromText, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return fmt.Errorf("JSON: %w", err)
	}
	var fromProto openapi_v2.Document
	if err := proto.Unmarshal(packed, &fromProto); err != nil {
		return fmt.Errorf("protobuf: %w", err)
	}
	for _, document := range []*openapi_v2.Document{fromText, &fromProto} {
		plainYAML(document.ProtoReflect())
		if len(document.ProtoReflect().GetUnknown()) > 0 {
			return fmt.Errorf("unknown protobuf fields")
		}
	}
	if !proto.Equal(fromText, &fromProto) {
		return fmt.Errorf("JSON and protobuf differ: %s", firstDifference(fromText, &fromProto))
	}
	models, err := openapi_proto.NewOpenAPIData(&fromProto)
	if err != nil {
		return fmt.Errorf("models: %w", err)
	}
	for _, name := range models.ListModels() {
		if models.LookupModel(name) == nil {
			return fmt.Errorf("model %s cannot be looked up", name)
		}
		given.Strict = append(given.Strict, name)
	}
	sort.Strings(given.Strict)
	return nil
}

// plainYAML replaces each YAML text by one form of it.
func plainYAML(message protoreflect.Message) {
	if known, ok := message.Interface().(*openapi_v2.Any); ok {
		if converted, err := yaml.YAMLToJSON([]byte(known.Yaml)); err == nil {
			known.Yaml = string(converted)
			known.Value = nil
		}
		return
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil {
			return true
		}
		if field.IsList() {
			for i := 0; i < value.List().Len(); i++ {
				plainYAML(value.List().Get(i).Message())
			}
		} else {
			plainYAML(value.Message())
		}
		return true
	})
}

// firstDifference names a path or definition that differs.
func firstDifference(a, b *openapi_v2.Document) string {
	for i, path := range a.Paths.GetPath() {
		if i >= len(b.Paths.GetPath()) || !proto.Equal(path, b.Paths.Path[i]) {
			return "path " + path.Name
		}
	}
	for i, schema := range a.Definitions.GetAdditionalProperties() {
		if i >= len(b.Definitions.GetAdditionalProperties()) || !proto.Equal(schema, b.Definitions.AdditionalProperties[i]) {
			return "definition " + schema.Name
		}
	}
	return "neither paths nor definitions"
}

// openapiV3 reads a document of version 3 as kubectl does and writes it again.
func openapiV3(text []byte, given *answer) error {
	var document spec3.OpenAPI
	if err := document.UnmarshalJSON(text); err != nil {
		return err
	}
	if _, err := handler3.ToV3ProtoBinary(text); err != nil {
		return fmt.Errorf("gnostic: %w", err)
	}
	packed, err := document.MarshalJSON()
	given.JSON = packed
	return err
}
