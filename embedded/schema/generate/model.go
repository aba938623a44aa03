package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Node kinds. The numbers are the file format: src/api/schema/table.rs has the same list.
const (
	kindAny uint8 = iota
	kindBool
	kindInt32
	kindInt64
	kindFloat
	kindString
	kindBytes
	kindQuantity
	kindIntOrString
	kindTime
	kindMicroTime
	kindDuration
	kindFieldsV1
	kindRawExtension
	kindJSON
	kindSchemaOrArray
	kindSchemaOrBool
	kindSchemaOrStrings
	kindStruct
	kindList
	kindMap
)

// specials are the types that have their own JSON form.
var specials = map[reflect.Type]uint8{
	reflect.TypeOf(resource.Quantity{}):                            kindQuantity,
	reflect.TypeOf(intstr.IntOrString{}):                           kindIntOrString,
	reflect.TypeOf(metav1.Time{}):                                  kindTime,
	reflect.TypeOf(metav1.MicroTime{}):                             kindMicroTime,
	reflect.TypeOf(metav1.Duration{}):                              kindDuration,
	reflect.TypeOf(metav1.FieldsV1{}):                              kindFieldsV1,
	reflect.TypeOf(runtime.RawExtension{}):                         kindRawExtension,
	reflect.TypeOf(apiextensionsv1.JSON{}):                         kindJSON,
	reflect.TypeOf(apiextensionsv1.JSONSchemaPropsOrArray{}):       kindSchemaOrArray,
	reflect.TypeOf(apiextensionsv1.JSONSchemaPropsOrBool{}):        kindSchemaOrBool,
	reflect.TypeOf(apiextensionsv1.JSONSchemaPropsOrStringArray{}): kindSchemaOrStrings,
}

// List, map and struct behaviour, patch strategies and node flags: as in table.rs.
const (
	listAtomic uint8 = 1
	listSet    uint8 = 2
	listMap    uint8 = 3

	mapAtomic   uint8 = 1
	mapGranular uint8 = 2

	patchMerge      uint8 = 1
	patchReplace    uint8 = 2
	patchRetainKeys uint8 = 4

	// nodeWrapped marks a named slice that protobuf writes as a message with one field, items.
	nodeWrapped uint32 = 1
	// nodePointer marks elements and map values that are Go pointers.
	nodePointer uint32 = 2
)

// Field flags: as in table.rs.
const (
	fieldRequired  uint16 = 1
	fieldPointer   uint16 = 2
	fieldOmitEmpty uint16 = 4
	fieldOmitZero  uint16 = 8
	fieldInline    uint16 = 16
)

// node says what a value is and how it is merged. Equal nodes are stored once.
type node struct {
	kind, list, mapping, patch uint8
	// ref is a type's name (struct) or nothing; elem is the node of elements or map values.
	ref      string
	elem     int
	flags    uint32
	keys     string // comma separated, none of the keys has a comma
	mergeKey string
	enum     string // JSON array of strings
	fallback string // default as JSON text
	goName   string
}

// field is one field of a Go struct, in the order of protobuf numbers.
type field struct {
	name        string
	node        int
	number      int
	flags       uint16
	description string
}

// typeInfo is a Go struct, or a special type that is here for its name and description.
type typeInfo struct {
	name, goName, description string
	mapping                   uint8
	extensions                string
	required                  []string // in the order of the sources
	fields                    []field
}

type model struct {
	sources *sources
	kinds   []kind
	names   map[reflect.Type]string
	types   map[string]*typeInfo
	nodes   []node
	nodeIDs map[node]int
	queue   []reflect.Type
}

func newModel(s *sources) *model {
	m := &model{sources: s, names: map[reflect.Type]string{}, types: map[string]*typeInfo{},
		nodeIDs: map[node]int{}}
	m.intern(node{kind: kindAny, elem: -1}) // node 0: what a reader without schema takes
	return m
}

func (m *model) fieldCount() int {
	count := 0
	for _, t := range m.types {
		count += len(t.fields)
	}
	return count
}

func (m *model) addKind(k kind) error {
	root, err := m.shape(k.goType)
	k.root = m.intern(root)
	m.kinds = append(m.kinds, k)
	return err
}

// refer gives the OpenAPI name of a struct type and puts it on the list of types to read.
func (m *model) refer(goType reflect.Type) (string, error) {
	if name, ok := m.names[goType]; ok {
		return name, nil
	}
	named, ok := reflect.New(goType).Interface().(interface{ OpenAPIModelName() string })
	if !ok {
		return "", fmt.Errorf("type %s has no OpenAPI name", goType)
	}
	name := named.OpenAPIModelName()
	m.names[goType] = name
	m.queue = append(m.queue, goType)
	return name, nil
}

// complete reads all types that the kinds reach.
func (m *model) complete() error {
	for len(m.queue) > 0 {
		goType := m.queue[0]
		m.queue = m.queue[1:]
		info, err := m.readType(goType)
		if err != nil {
			return fmt.Errorf("%s: %w", goType, err)
		}
		if m.types[info.name] != nil {
			return fmt.Errorf("two types are called %s", info.name)
		}
		m.types[info.name] = info
	}
	return nil
}

func (m *model) readType(goType reflect.Type) (*typeInfo, error) {
	decl, err := m.sources.typeOf(goType)
	if err != nil {
		return nil, err
	}
	info := &typeInfo{name: m.names[goType], goName: goType.String(), description: prose(decl.comment.lines)}
	if info.mapping, err = mapType(decl.comment.first("structType")); err != nil {
		return nil, err
	}
	if _, special := specials[goType]; special {
		return info, nil
	}
	if goType.Implements(reflect.TypeOf((*json.Marshaler)(nil)).Elem()) ||
		goType.Implements(reflect.TypeOf((*encoding.TextMarshaler)(nil)).Elem()) {
		return nil, fmt.Errorf("has its own JSON form, which the table does not know")
	}
	for i := 0; i < goType.NumField(); i++ {
		f, ok, err := m.readField(goType.Field(i), decl.fields[goType.Field(i).Name])
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", goType.Field(i).Name, err)
		}
		if ok {
			info.fields = append(info.fields, f)
		}
	}
	for _, f := range info.fields {
		if f.flags&fieldInline != 0 {
			info.required = append(info.required, "+"+m.nodes[f.node].ref)
		} else if f.flags&fieldRequired != 0 {
			info.required = append(info.required, f.name)
		}
	}
	info.extensions, err = unions(goType, decl)
	sort.SliceStable(info.fields, func(i, j int) bool { return info.fields[i].number < info.fields[j].number })
	return info, err
}

// readField reads one struct field; false if JSON does not know it.
func (m *model) readField(goField reflect.StructField, doc comment) (field, bool, error) {
	name, options, _ := strings.Cut(goField.Tag.Get("json"), ",")
	if name == "-" || !goField.IsExported() {
		return field{}, false, nil
	}
	f := field{name: name, description: prose(doc.lines)}
	for _, option := range strings.Split(options, ",") {
		switch option {
		case "omitempty":
			f.flags |= fieldOmitEmpty
		case "omitzero":
			f.flags |= fieldOmitZero
		}
	}
	if name == "" && goField.Anonymous {
		f.flags |= fieldInline
	} else if name == "" {
		f.name = goField.Name
	}
	goType := goField.Type
	if goType.Kind() == reflect.Pointer {
		f.flags |= fieldPointer
		goType = goType.Elem()
	}
	if required(doc, f.flags) {
		f.flags |= fieldRequired
	}
	n, err := m.shape(goType)
	if err != nil {
		return f, false, err
	}
	if f.number, err = protobufNumber(goField.Tag.Get("protobuf")); err != nil {
		return f, false, err
	}
	if err = m.annotate(&n, goField, goType, doc, f.flags); err != nil {
		return f, false, err
	}
	if values := enumLines(m, goType, &n); values != nil {
		if f.description == "" {
			values = values[1:]
		}
		f.description = prose(append(append([]string(nil), doc.lines...), values...))
	}
	f.node = m.intern(n)
	return f, true, nil
}

// required follows the rule of the OpenAPI generator: markers first, then the JSON tag.
func required(doc comment, flags uint16) bool {
	if flags&fieldInline != 0 || doc.has("optional") {
		return false
	}
	return doc.has("required") || flags&(fieldOmitEmpty|fieldOmitZero) == 0
}

// protobufNumber reads the field number out of a tag like `varint,1,opt,name=replicas`. How a value
// stands on the wire follows from its kind: the tags are not always right (PodLogOptions.stream).
func protobufNumber(tag string) (int, error) {
	if tag == "" || tag == "-" {
		return 0, nil
	}
	_, rest, _ := strings.Cut(tag, ",")
	number, _, _ := strings.Cut(rest, ",")
	return strconv.Atoi(number)
}

// intern gives the index of a node, the same for equal nodes.
func (m *model) intern(n node) int {
	id, ok := m.nodeIDs[n]
	if !ok {
		id = len(m.nodes)
		m.nodes = append(m.nodes, n)
		m.nodeIDs[n] = id
	}
	return id
}
