package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"strings"
)

// The file: a header of words, then sections. All numbers are little-endian u32 words; a text is
// the offset of a u16 length and its bytes in the text section; a list is the offset (in words) of
// a count and its items in the list section. src/api/schema/table.rs reads it.
const (
	magic         = "rkschema"
	formatVersion = 2
)

type writer struct {
	texts   bytes.Buffer
	textIDs map[string]uint32
	lists   []uint32
	listIDs map[string]uint32

	descriptions   []string
	descriptionIDs map[string]uint32

	typeIDs map[string]uint32
}

// encode renders the table and the plain description section.
func encode(m *model, version string) ([]byte, []byte) {
	w := &writer{textIDs: map[string]uint32{}, listIDs: map[string]uint32{},
		descriptionIDs: map[string]uint32{}, typeIDs: map[string]uint32{}}
	w.text("")
	w.list(nil)
	w.description("")
	names := sortedKeys(m.types)
	for i, name := range names {
		w.typeIDs[name] = uint32(i)
	}
	release := w.text("v1." + strings.TrimPrefix(version, "v0."))
	fields := w.fields(m, names)
	types := w.types(m, names)
	nodes := w.nodes(m)
	kinds := w.kinds(m)
	for len(w.texts.Bytes())%4 != 0 {
		w.texts.WriteByte(0)
	}
	var out bytes.Buffer
	out.WriteString(magic)
	sections := [][]uint32{kinds, types, fields, nodes, w.lists}
	header := []uint32{formatVersion, release}
	offset := uint32(len(magic) + 4*(2+2*(len(sections)+1)))
	for _, section := range sections {
		header = append(header, offset, uint32(len(section)))
		offset += uint32(4 * len(section))
	}
	header = append(header, offset, uint32(w.texts.Len()))
	for _, section := range append([][]uint32{header}, sections...) {
		_ = binary.Write(&out, binary.LittleEndian, section)
	}
	out.Write(w.texts.Bytes())
	return out.Bytes(), w.descriptionSection()
}

func (w *writer) kinds(m *model) []uint32 {
	var out []uint32
	for _, k := range m.kinds {
		out = append(out, w.text(k.group), w.text(k.version), w.text(k.name), uint32(k.root))
	}
	return out
}

// fields writes the fields of all types in the order of the types; types() relies on it.
func (w *writer) fields(m *model, names []string) []uint32 {
	var out []uint32
	for _, name := range names {
		for _, f := range m.types[name].fields {
			out = append(out, w.text(f.name), uint32(f.node),
				uint32(f.number)|uint32(f.flags)<<16, w.description(f.description))
		}
	}
	return out
}

func (w *writer) types(m *model, names []string) []uint32 {
	first := map[string]uint32{}
	next := uint32(0)
	for _, name := range names {
		first[name] = next
		next += uint32(len(m.types[name].fields))
	}
	var out []uint32
	for _, name := range names {
		t := m.types[name]
		visible := map[string]visibleField{}
		collectVisible(m, t, first, 0, visible)
		var byName []uint32
		for _, field := range sortedKeys(visible) {
			byName = append(byName, visible[field].index)
		}
		out = append(out, w.text(name), w.text(t.goName), first[name], uint32(len(t.fields)),
			w.list(byName), uint32(t.mapping), w.description(t.description), w.text(t.extensions),
			w.list(w.required(m, t)))
	}
	return out
}

// required lists the names of required fields in the order of the sources, with those of inlined
// structs in their place.
func (w *writer) required(m *model, t *typeInfo) []uint32 {
	var out []uint32
	for _, name := range t.required {
		if inlined, ok := strings.CutPrefix(name, "+"); ok {
			out = append(out, w.required(m, m.types[inlined])...)
		} else {
			out = append(out, w.text(name))
		}
	}
	return out
}

type visibleField struct {
	index uint32
	depth int
}

// collectVisible finds the JSON fields of a type with those of inlined structs; the outer wins.
func collectVisible(m *model, t *typeInfo, first map[string]uint32, depth int, found map[string]visibleField) {
	for i, f := range t.fields {
		if f.flags&fieldInline != 0 {
			collectVisible(m, m.types[m.nodes[f.node].ref], first, depth+1, found)
		} else if known, ok := found[f.name]; !ok || depth < known.depth {
			found[f.name] = visibleField{first[t.name] + uint32(i), depth}
		}
	}
}

func (w *writer) nodes(m *model) []uint32 {
	var out []uint32
	for _, n := range m.nodes {
		ref := uint32(0)
		if n.kind == kindStruct {
			ref = w.typeIDs[n.ref]
		} else if n.elem >= 0 {
			ref = uint32(n.elem)
		}
		var keys, values []uint32
		if n.keys != "" {
			for _, key := range strings.Split(n.keys, ",") {
				keys = append(keys, w.text(key))
			}
		}
		if n.enum != "" {
			var names []string
			_ = json.Unmarshal([]byte(n.enum), &names)
			for _, name := range names {
				values = append(values, w.text(name))
			}
		}
		head := uint32(n.kind) | uint32(n.list)<<8 | uint32(n.mapping)<<16 | uint32(n.patch)<<24
		out = append(out, head, ref, n.flags, w.list(keys), w.text(n.mergeKey), w.list(values),
			w.text(n.fallback), w.text(n.goName))
	}
	return out
}

func (w *writer) text(text string) uint32 {
	if id, ok := w.textIDs[text]; ok {
		return id
	}
	id := uint32(w.texts.Len())
	_ = binary.Write(&w.texts, binary.LittleEndian, uint16(len(text)))
	w.texts.WriteString(text)
	w.textIDs[text] = id
	return id
}

func (w *writer) list(items []uint32) uint32 {
	packed, _ := json.Marshal(items)
	if id, ok := w.listIDs[string(packed)]; ok {
		return id
	}
	id := uint32(len(w.lists))
	w.lists = append(append(w.lists, uint32(len(items))), items...)
	w.listIDs[string(packed)] = id
	return id
}

func (w *writer) description(text string) uint32 {
	if id, ok := w.descriptionIDs[text]; ok {
		return id
	}
	id := uint32(len(w.descriptions))
	w.descriptions = append(w.descriptions, text)
	w.descriptionIDs[text] = id
	return id
}

// descriptionSection is a count, count+1 offsets, and the texts.
func (w *writer) descriptionSection() []byte {
	words := []uint32{uint32(len(w.descriptions)), 0}
	var texts bytes.Buffer
	for _, text := range w.descriptions {
		texts.WriteString(text)
		words = append(words, uint32(texts.Len()))
	}
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, words)
	out.Write(texts.Bytes())
	return out.Bytes()
}

func deflate(data []byte) ([]byte, error) {
	var out bytes.Buffer
	packer, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := packer.Write(data); err != nil {
		return nil, err
	}
	if err := packer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
