// Says what Kubernetes makes of CEL expressions, for the cases that the unit test
// `expressions_mean_what_kubernetes_says` replays.
//
// Usage: go run ./cel OBJECTS CASES: each line of the cases is an expression (expr) over an object of
// which no schema speaks, or, where it is `typed`, over one with a schema; both stand in the objects.
// The `want` of each case is recorded anew. Run by hand when cases are added; CI only replays.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

type want struct {
	Compile  string `json:"compile,omitempty"`
	Type     string `json:"type,omitempty"`
	Value    string `json:"value,omitempty"`
	Error    string `json:"error,omitempty"`
	Cost     uint64 `json:"cost"`
	Estimate uint64 `json:"estimate"`
}

type testCase struct {
	Expr  string `json:"expr"`
	Typed bool   `json:"typed,omitempty"`
	Want  want   `json:"want"`
}

type objects struct {
	Schema json.RawMessage `json:"schema"`
	Self   any             `json:"self"`
	Old    any             `json:"old"`
	Free   any             `json:"free"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: cel OBJECTS CASES")
	}
	file, err := os.ReadFile(os.Args[1])
	check(err)
	var given objects
	decoder := json.NewDecoder(strings.NewReader(string(file)))
	decoder.UseNumber()
	check(decoder.Decode(&given))
	given.Self, given.Old, given.Free = numbers(given.Self), numbers(given.Old), numbers(given.Free)
	file, err = os.ReadFile(os.Args[2])
	check(err)
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(string(file)))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var c testCase
		check(json.Unmarshal([]byte(lines.Text()), &c))
		c.Want = record(c, given)
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		check(encoder.Encode(c))
	}
	check(os.WriteFile(os.Args[2], []byte(out.String()), 0o644))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Numbers as Kubernetes decodes them.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = numbers(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = numbers(v[k])
		}
		return out
	}
	return v
}

type sizes struct {
	checker.CostEstimator
	root *apiservercel.DeclType
}

func (s *sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	path := element.Path()
	if len(path) == 0 || s.root == nil || (path[0] != "self" && path[0] != "oldSelf") {
		return nil
	}
	node := s.root
	for _, name := range path[1:] {
		switch name {
		case "@items", "@values":
			if node.ElemType == nil {
				return nil
			}
			node = node.ElemType
		case "@keys":
			if node.KeyType == nil {
				return nil
			}
			node = node.KeyType
		default:
			field, ok := node.Fields[name]
			if !ok || field.Type == nil {
				return nil
			}
			node = field.Type
		}
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(node.MaxElements)}
}

func (s *sizes) EstimateCallCost(_, _ string, _ *checker.AstNode, _ []checker.AstNode) *checker.CallEstimate {
	return nil
}

func record(c testCase, given objects) (w want) {
	base := environment.MustBaseEnvSet(version.MajorMinor(1, 36))
	var options environment.VersionedOptions
	options.IntroducedVersion = version.MajorMinor(1, 0)
	estimator := &library.CostEstimator{}
	input := map[string]any{"self": given.Free, "oldSelf": given.Free}
	if c.Typed {
		var props v1.JSONSchemaProps
		check(json.Unmarshal(given.Schema, &props))
		var internal apiext.JSONSchemaProps
		check(v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&props, &internal, nil))
		structural, err := schema.NewStructural(&internal)
		check(err)
		decl := model.SchemaDeclType(structural, true).MaybeAssignTypeName("selfType")
		estimator.SizeEstimator = &sizes{root: decl}
		options.EnvOptions = []cel.EnvOption{
			cel.Variable("self", decl.CelType()), cel.Variable("oldSelf", decl.CelType()),
		}
		options.DeclTypes = []*apiservercel.DeclType{decl}
		structural = model.WithTypeAndObjectMeta(structural)
		input["self"] = schemacel.UnstructuredToVal(given.Self, structural)
		input["oldSelf"] = schemacel.UnstructuredToVal(given.Old, structural)
	} else {
		options.EnvOptions = []cel.EnvOption{
			cel.Variable("self", cel.DynType), cel.Variable("oldSelf", cel.DynType),
		}
	}
	set, err := base.Extend(options)
	check(err)
	env := set.NewExpressionsEnv()
	ast, issues := env.Compile(c.Expr)
	if issues != nil && issues.Err() != nil {
		w.Compile = issues.String()
		return w
	}
	w.Type = checker.FormatCELType(ast.OutputType())
	estimate, err := env.EstimateCost(ast, estimator)
	check(err)
	w.Estimate = estimate.Max
	program, err := env.Program(ast, cel.CostLimit(1000000), cel.CostTracking(estimator))
	if err != nil {
		w.Error = "program instantiation failed: " + err.Error()
		return w
	}
	value, details, err := program.Eval(input)
	if details != nil && details.ActualCost() != nil {
		w.Cost = *details.ActualCost()
	}
	if err != nil {
		w.Error = err.Error()
		return w
	}
	w.Value = show(value)
	return w
}

func show(v ref.Val) string {
	switch v := v.(type) {
	case types.Null:
		return "null"
	case types.Bool:
		return strconv.FormatBool(bool(v))
	case types.Int:
		return strconv.FormatInt(int64(v), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10) + "u"
	case types.Double:
		f := float64(v)
		if f == math.Trunc(f) && math.Abs(f) < 1e15 {
			return strconv.FormatFloat(f, 'f', 1, 64)
		}
		return strconv.FormatFloat(f, 'g', -1, 64)
	case types.String:
		return quoted(string(v))
	case types.Bytes:
		return fmt.Sprintf("b%q", base64.StdEncoding.EncodeToString(v))
	case types.Duration:
		return fmt.Sprintf("duration(%d)", v.Duration.Nanoseconds())
	case types.Timestamp:
		return fmt.Sprintf("timestamp(%s)", v.Time.UTC().Format(time.RFC3339Nano))
	case *types.Optional:
		if !v.HasValue() {
			return "none"
		}
		return fmt.Sprintf("some(%s)", show(v.GetValue()))
	case *types.Type:
		return fmt.Sprintf("type(%s)", v.TypeName())
	case *apiservercel.Quantity:
		return fmt.Sprintf("quantity(%s)", v.Quantity.String())
	case apiservercel.URL:
		return fmt.Sprintf("url(%s)", v.URL.String())
	case apiservercel.Quantity:
		return fmt.Sprintf("quantity(%s)", v.Quantity.String())
	case apiservercel.IP:
		return fmt.Sprintf("ip(%s)", v.Addr.String())
	case apiservercel.CIDR:
		return fmt.Sprintf("cidr(%s)", v.Prefix.String())
	case apiservercel.Semver:
		return fmt.Sprintf("semver(%s)", v.Version.String())
	case traits.Mapper:
		var entries []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			entries = append(entries, show(key)+": "+show(v.Get(key)))
		}
		sort.Strings(entries)
		return "{" + strings.Join(entries, ", ") + "}"
	case traits.Lister:
		var items []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			items = append(items, show(it.Next()))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprintf("?%s", v.Type().TypeName())
}

func quoted(s string) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(s))
	return strings.TrimSpace(out.String())
}
