package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// comment is what stands above a type or a field: the prose, and the markers by name.
type comment struct {
	lines   []string
	markers map[string][]string
}

// has is true if the marker stands there, with or without a value.
func (c comment) has(marker string) bool { return len(c.markers[marker]) > 0 }

// first is the value of the first such marker, or "".
func (c comment) first(marker string) string {
	if values := c.markers[marker]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// declared is a type declaration as found in the sources.
type declared struct {
	comment comment
	fields  map[string]comment
}

// constant is a typed string constant, a possible value of an +enum type.
type constant struct {
	name, value string
	comment     comment
}

// source is one parsed package.
type source struct {
	types     map[string]declared
	constants map[string][]constant
}

// sources parses packages when they are first asked for.
type sources struct{ packages map[string]*source }

func newSources() *sources { return &sources{packages: map[string]*source{}} }

// typeOf gives the comments of a named Go type; an error if its source has none.
func (s *sources) typeOf(goType reflect.Type) (declared, error) {
	pkg, err := s.load(goType.PkgPath())
	if err != nil {
		return declared{}, err
	}
	found, ok := pkg.types[goType.Name()]
	if !ok {
		return declared{}, fmt.Errorf("no source for type %s.%s", goType.PkgPath(), goType.Name())
	}
	return found, nil
}

// valuesOf lists the constants of a string type if it is marked +enum, sorted by value.
func (s *sources) valuesOf(goType reflect.Type) ([]constant, error) {
	if goType.PkgPath() == "" || goType.Kind() != reflect.String {
		return nil, nil
	}
	decl, err := s.typeOf(goType)
	if err != nil || !decl.comment.has("enum") {
		return nil, err
	}
	values := append([]constant(nil), s.packages[goType.PkgPath()].constants[goType.Name()]...)
	sort.Slice(values, func(i, j int) bool { return values[i].value < values[j].value })
	return values, nil
}

// constant resolves a constant of a package by name, for defaults that refer to one.
func (s *sources) constant(pkgPath, name string) (string, error) {
	pkg, err := s.load(pkgPath)
	if err != nil {
		return "", err
	}
	for _, group := range pkg.constants {
		for _, c := range group {
			if c.name == name {
				return c.value, nil
			}
		}
	}
	return "", fmt.Errorf("no constant %s in %s", name, pkgPath)
}

func (s *sources) load(pkgPath string) (*source, error) {
	if found, ok := s.packages[pkgPath]; ok {
		return found, nil
	}
	list := "{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}\n{{end}}"
	names, err := exec.Command("go", "list", "-f", list, pkgPath).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pkgPath, err)
	}
	pkg := &source{types: map[string]declared{}, constants: map[string][]constant{}}
	for _, name := range strings.Fields(string(names)) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			if general, ok := decl.(*ast.GenDecl); ok {
				s.addDecl(pkg, general, file)
			}
		}
	}
	s.packages[pkgPath] = pkg
	return pkg, nil
}

func (s *sources) addDecl(p *source, decl *ast.GenDecl, file *ast.File) {
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc
			if doc == nil {
				doc = decl.Doc
			}
			found := declared{comment: parseComment(doc), fields: map[string]comment{}}
			if structType, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range structType.Fields.List {
					for _, name := range fieldNames(field) {
						found.fields[name] = parseComment(field.Doc)
					}
				}
			}
			p.types[spec.Name.Name] = found
		case *ast.ValueSpec:
			s.addConstant(p, spec, decl, file)
		}
	}
}

// addConstant takes `Name Type = value` and `Name = Type(value)` of string types.
func (s *sources) addConstant(p *source, spec *ast.ValueSpec, decl *ast.GenDecl, file *ast.File) {
	if decl.Tok != token.CONST || len(spec.Values) != 1 {
		return
	}
	typeName, value := spec.Type, spec.Values[0]
	if call, ok := value.(*ast.CallExpr); ok && typeName == nil && len(call.Args) == 1 {
		typeName, value = call.Fun, call.Args[0]
	}
	named, ok := typeName.(*ast.Ident)
	if !ok {
		return
	}
	if text, ok := s.text(value, file); ok {
		found := constant{name: spec.Names[0].Name, value: text, comment: parseComment(spec.Doc)}
		p.constants[named.Name] = append(p.constants[named.Name], found)
	}
}

// text is the value of a string literal, or of a constant of another package.
func (s *sources) text(value ast.Expr, file *ast.File) (string, bool) {
	switch value := value.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(value.Value)
		return text, err == nil && value.Kind == token.STRING
	case *ast.SelectorExpr:
		pkg, ok := value.X.(*ast.Ident)
		if !ok {
			return "", false
		}
		for _, spec := range file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			name := path[strings.LastIndex(path, "/")+1:]
			if spec.Name != nil {
				name = spec.Name.Name
			}
			if name == pkg.Name {
				text, err := s.constant(path, value.Sel.Name)
				return text, err == nil
			}
		}
	}
	return "", false
}

// fieldNames are the Go names that a struct field declares; an embedded one is named by its type.
func fieldNames(field *ast.Field) []string {
	if len(field.Names) > 0 {
		var names []string
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
		return names
	}
	expr := field.Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	switch expr := expr.(type) {
	case *ast.SelectorExpr:
		return []string{expr.Sel.Name}
	case *ast.Ident:
		return []string{expr.Name}
	}
	return nil
}

// parseComment separates prose from markers. A marker is a line `+name` or `+name=value`.
func parseComment(group *ast.CommentGroup) comment {
	found := comment{markers: map[string][]string{}}
	if group == nil {
		return found
	}
	for _, line := range strings.Split(strings.TrimRight(group.Text(), "\n"), "\n") {
		found.lines = append(found.lines, line)
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "+") {
			name, value, _ := strings.Cut(trimmed[1:], "=")
			found.markers[name] = append(found.markers[name], value)
		}
	}
	return found
}

// moduleVersion is the version of a required module, as it stands in go.mod.
func moduleVersion(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}
