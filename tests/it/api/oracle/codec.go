package main

import (
	"bytes"
	"errors"
	"math/rand"
	"sort"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"
)

var (
	scheme       = newScheme()
	codecs       = serializer.NewCodecFactory(scheme)
	strictJSON   = json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Strict: true})
	protobufWire = protobuf.NewSerializer(scheme, scheme)
)

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme,
		autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, policyv1.AddToScheme,
		networkingv1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme,
		coordinationv1.AddToScheme, nodev1.AddToScheme, schedulingv1.AddToScheme,
		storagev1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme,
		authorizationv1.AddToScheme, certificatesv1.AddToScheme, admissionregistrationv1.AddToScheme,
		apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme, flowcontrolv1.AddToScheme,
		resourcev1.AddToScheme, storagemigrationv1.AddToScheme, admissionv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

// kinds lists what can be generated and decoded.
func kinds() [][3]string {
	var found [][3]string
	for gvk, goType := range scheme.AllKnownTypes() {
		if gvk.Version != runtime.APIVersionInternal && !strings.HasPrefix(goType.PkgPath(), "k8s.io/apimachinery/") {
			found = append(found, [3]string{gvk.Group, gvk.Version, gvk.Kind})
		}
	}
	sort.Slice(found, func(i, j int) bool { return strings.Join(found[i][:], "/") < strings.Join(found[j][:], "/") })
	return found
}

// fillers make values that have a JSON form; the generic fuzzer knows nothing of CRDs' JSON.
func fillers(serializer.CodecFactory) []interface{} {
	return []interface{}{
		func(j *apiextensionsv1.JSON, c randfill.Continue) {
			texts := []string{`1`, `"x"`, `{"a":[1,null,"b"]}`, `[true]`}
			j.Raw = []byte(texts[c.Intn(len(texts))])
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			texts := []string{`{"apiVersion":"b/v1","kind":"A","n":1}`, `{"x":{"y":[1,2.5]}}`}
			r.Raw, r.Object = []byte(texts[c.Intn(len(texts))]), nil
		},
		func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			s.Type, s.Description = "object", c.String(8)
			if c.Intn(3) == 0 {
				s.Properties = map[string]apiextensionsv1.JSONSchemaProps{"p": {Type: "string", Nullable: true}}
			}
			if c.Intn(3) == 0 {
				s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "integer"}}
			}
			if c.Intn(3) == 0 {
				s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true}
			}
			if c.Intn(3) == 0 {
				maximum := 2.5
				s.Maximum = &maximum
				s.Default = &apiextensionsv1.JSON{Raw: []byte(`{"d":1}`)}
				s.Enum = []apiextensionsv1.JSON{{Raw: []byte(`"a"`)}}
			}
			if c.Intn(4) == 0 {
				s.Dependencies = apiextensionsv1.JSONSchemaDependencies{"d": {Property: []string{"x"}}}
			}
		},
		func(q *resource.Quantity, c randfill.Continue) {
			texts := []string{"0", "1", "100m", "1536Mi", "1.5Gi", "12e6", "3k", "-5", "1025Ki", "0.5"}
			*q = resource.MustParse(texts[c.Intn(len(texts))])
		},
	}
}

// generate makes a random object and writes it in JSON and protobuf.
func generate(gvk schema.GroupVersionKind, seed int64, given *answer) error {
	object, err := scheme.New(gvk)
	if err != nil {
		return err
	}
	funcs := fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, fillers)
	filler := fuzzer.FuzzerFor(funcs, rand.NewSource(seed), codecs).NilChance(0.4).NumElements(0, 2).MaxDepth(18)
	filler.Fill(object)
	object.GetObjectKind().SetGroupVersionKind(gvk)
	return write(object, given)
}

// write encodes an object in protobuf, and in JSON what comes back from that: what an API server
// would answer once it has stored the object.
func write(object runtime.Object, given *answer) error {
	gvk := object.GetObjectKind().GroupVersionKind()
	var packed bytes.Buffer
	if err := protobufWire.Encode(object, &packed); err != nil {
		return err
	}
	given.Bytes = packed.Bytes()
	stored, _, err := protobufWire.Decode(given.Bytes, &gvk, nil)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := strictJSON.Encode(stored, &text); err != nil {
		return err
	}
	given.JSON = bytes.TrimSpace(text.Bytes())
	return nil
}

func decodeJSON(gvk schema.GroupVersionKind, text []byte, given *answer) error {
	object, _, err := strictJSON.Decode(text, &gvk, nil)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		for _, finding := range strict.Errors() {
			given.Strict = append(given.Strict, finding.Error())
		}
	} else if err != nil {
		return err
	}
	if object == nil {
		return errors.New("no object")
	}
	return write(object, given)
}

// decodeYAML converts a text as the API server does before it decodes it.
func decodeYAML(text []byte, given *answer) error {
	if _, err := yaml.YAMLToJSONStrict(text); err != nil {
		given.Strict = []string{err.Error()}
	}
	converted, err := yaml.YAMLToJSON(text)
	given.JSON = converted
	return err
}

func fromProtobuf(packed []byte, gvk schema.GroupVersionKind, given *answer) error {
	object, _, err := protobufWire.Decode(packed, &gvk, nil)
	if err != nil {
		return err
	}
	return write(object, given)
}

func toProtobuf(gvk schema.GroupVersionKind, text []byte, given *answer) error {
	object, _, err := strictJSON.Decode(text, &gvk, nil)
	if err != nil {
		return err
	}
	return write(object, given)
}

func quantity(text string, given *answer) error {
	parsed, err := resource.ParseQuantity(text)
	if err != nil {
		return err
	}
	given.Text = parsed.String()
	return nil
}
