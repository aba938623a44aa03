package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"
)

// shape is the node of a Go type as such, without what the field adds.
func (m *model) shape(goType reflect.Type) (node, error) {
	n := node{goName: goType.String(), elem: -1}
	if kind, ok := specials[goType]; ok {
		n.kind = kind
		_, err := m.refer(goType)
		return n, err
	}
	switch goType.Kind() {
	case reflect.Bool:
		n.kind = kindBool
	case reflect.Int32:
		n.kind = kindInt32
	case reflect.Int, reflect.Int64:
		n.kind = kindInt64
	case reflect.Float64:
		n.kind = kindFloat
	case reflect.String:
		n.kind = kindString
	case reflect.Interface:
		n.kind = kindAny
	case reflect.Struct:
		n.kind = kindStruct
		ref, err := m.refer(goType)
		n.ref = ref
		return n, err
	case reflect.Slice:
		if goType.Elem().Kind() == reflect.Uint8 {
			n.kind = kindBytes
			return n, nil
		}
		n.kind = kindList
		if _, message := reflect.New(goType).Interface().(interface{ Marshal() ([]byte, error) }); message {
			n.flags |= nodeWrapped
		}
		return n, m.setElem(&n, goType.Elem())
	case reflect.Map:
		if goType.Key().Kind() != reflect.String {
			return n, fmt.Errorf("map keys of type %s", goType.Key())
		}
		n.kind = kindMap
		return n, m.setElem(&n, goType.Elem())
	default:
		return n, fmt.Errorf("type %s has no place in the table", goType)
	}
	return n, nil
}

func (m *model) setElem(n *node, goType reflect.Type) error {
	var pointer uint32
	if goType.Kind() == reflect.Pointer {
		goType, pointer = goType.Elem(), nodePointer
	}
	elem, err := m.shape(goType)
	elem.flags |= pointer
	if err == nil {
		enumLines(m, goType, &elem)
		n.elem = m.intern(elem)
	}
	return err
}

// annotate adds what tags and markers of a field say of its value.
func (m *model) annotate(n *node, goField reflect.StructField, goType reflect.Type, doc comment, flags uint16) error {
	for _, strategy := range strings.Split(goField.Tag.Get("patchStrategy"), ",") {
		switch strategy {
		case "":
		case "merge":
			n.patch |= patchMerge
		case "replace":
			n.patch |= patchReplace
		case "retainKeys":
			n.patch |= patchRetainKeys
		default:
			return fmt.Errorf("patch strategy %q", strategy)
		}
	}
	n.mergeKey = goField.Tag.Get("patchMergeKey")
	switch list := doc.first("listType"); list {
	case "":
	case "atomic":
		n.list = listAtomic
	case "set":
		n.list = listSet
	case "map":
		n.list = listMap
	default:
		return fmt.Errorf("list type %q", list)
	}
	n.keys = strings.Join(doc.markers["listMapKey"], ",")
	var err error
	if n.mapping, err = mapType(doc.first("mapType") + doc.first("structType")); err != nil {
		return err
	}
	n.fallback, err = m.fallback(goType, doc, flags)
	return err
}

func mapType(marker string) (uint8, error) {
	switch marker {
	case "":
		return 0, nil
	case "atomic":
		return mapAtomic, nil
	case "granular":
		return mapGranular, nil
	}
	return 0, fmt.Errorf("map or struct type %q", marker)
}

// fallback is the default that the sources declare, as JSON text.
func (m *model) fallback(goType reflect.Type, doc comment, flags uint16) (string, error) {
	text := doc.first("default")
	if name, ok := strings.CutPrefix(text, "ref("); ok {
		value, err := m.sources.constant(goType.PkgPath(), strings.TrimSuffix(name, ")"))
		if err != nil {
			return "", err
		}
		text = quote(value)
	}
	if text != "" && !json.Valid([]byte(text)) {
		return "", fmt.Errorf("default %q", text)
	}
	return text, nil
}

// enumLines sets the values of an +enum type and gives the comment lines that describe them.
func enumLines(m *model, goType reflect.Type, n *node) []string {
	values, err := m.sources.valuesOf(goType)
	if err != nil || len(values) == 0 {
		return nil
	}
	var names []string
	lines := []string{"", "Possible enum values:"}
	for _, value := range values {
		names = append(names, value.value)
		line := " - `" + quote(value.value) + "`"
		about := strings.Join(strings.Fields(prose(value.comment.lines)), " ")
		if about = strings.TrimPrefix(about, value.name+" "); about != "" {
			line += " " + about
		}
		lines = append(lines, line)
	}
	packed, _ := json.Marshal(names)
	n.enum = string(packed)
	return lines
}

func quote(text string) string {
	packed, _ := json.Marshal(text)
	return string(packed)
}

// unions renders the union markers of a struct as the OpenAPI extension, or "".
func unions(goType reflect.Type, decl declared) (string, error) {
	type union struct {
		Discriminator string            `json:"discriminator,omitempty"`
		Fields        map[string]string `json:"fields-to-discriminateBy"`
	}
	found := union{Fields: map[string]string{}}
	isUnion := decl.comment.has("union")
	for i := 0; i < goType.NumField(); i++ {
		goField := goType.Field(i)
		name, _, _ := strings.Cut(goField.Tag.Get("json"), ",")
		doc := decl.fields[goField.Name]
		switch {
		case doc.has("unionDiscriminator"):
			found.Discriminator = name
		case doc.has("optional") && goField.Type.Kind() == reflect.Pointer:
			found.Fields[name] = goField.Name
		}
	}
	if !isUnion {
		return "", nil
	}
	packed, err := json.Marshal(map[string]any{"x-kubernetes-unions": []union{found}})
	return string(packed), err
}

// prose is the running text of a comment: paragraphs are kept, indented lines stay lines, markers
// and one-line TODOs are left out, and everything after a line `---` too.
func prose(lines []string) string {
	text := ""
	// cut takes back the separator behind the last word.
	cut := func() { text = text[:max(0, len(text)-1)] }
	for _, line := range lines {
		if line == "---" {
			break
		}
		line = strings.TrimRight(line, " ")
		start := strings.TrimLeft(line, " ")
		switch {
		case line == "":
			cut()
			text += "\n\n"
		case strings.HasPrefix(start, "TODO"), strings.HasPrefix(start, "+"):
		case line != strings.TrimLeft(line, " \t"):
			cut()
			text += "\n" + line + "\n"
		default:
			text += line + " "
		}
	}
	return strings.TrimRight(text, "\n ")
}

// sortedKeys are a map's keys in order, so that the output does not depend on the run.
func sortedKeys[V any](values map[string]V) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
