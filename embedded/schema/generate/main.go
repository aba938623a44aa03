// Command generate writes the schema table that rk embeds: every type that the GA kinds of
// Kubernetes reach, with what JSON, protobuf, patches and OpenAPI need to know of it.
//
// It reads the published Go modules twice: by reflection (names, types, tags) and by parsing their
// sources (comments and the +markers in them). It copies no code. Run it by `go generate` or
// `go run . ..` in this folder; the output is the same for the same modules.
package main

//go:generate go run . ..

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run writes table.bin and descriptions.bin into the folder named by the only argument.
func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: generate FOLDER")
	}
	version, err := moduleVersion("k8s.io/api")
	if err != nil {
		return err
	}
	roots, err := gaKinds()
	if err != nil {
		return err
	}
	model := newModel(newSources())
	for _, root := range roots {
		if err := model.addKind(root); err != nil {
			return err
		}
	}
	for _, other := range otherTypes {
		if _, err := model.refer(reflect.TypeOf(other)); err != nil {
			return err
		}
	}
	if err := model.complete(); err != nil {
		return err
	}
	table, descriptions := encode(model, version)
	packed, err := deflate(descriptions)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"table.bin": table, "descriptions.bin": packed} {
		if err := os.WriteFile(filepath.Join(args[0], name), data, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d kinds, %d types, %d fields, %d nodes, table %d bytes, descriptions %d (%d packed)\n",
		version, len(model.kinds), len(model.types), model.fieldCount(), len(model.nodes),
		len(table), len(descriptions), len(packed))
	return nil
}
