package main

import (
	"reflect"
	"sort"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// kind is one entry point into the type graph.
type kind struct {
	group, version, name string
	goType               reflect.Type
	root                 int // the node of goType
}

// groups are the packages of the group versions that v1.37 serves without a flag, and of the two
// that a server needs to speak with webhooks (admission) and clients (apidiscovery).
var groups = []func(*runtime.Scheme) error{
	corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme,
	autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, policyv1.AddToScheme,
	networkingv1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme,
	coordinationv1.AddToScheme, nodev1.AddToScheme, schedulingv1.AddToScheme,
	storagev1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme,
	authorizationv1.AddToScheme, certificatesv1.AddToScheme, admissionregistrationv1.AddToScheme,
	apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme, flowcontrolv1.AddToScheme,
	resourcev1.AddToScheme, storagemigrationv1.AddToScheme,
	admissionv1.AddToScheme, apidiscoveryv2.AddToScheme,
}

// metaKinds are the kinds that every group version shares; the table has them once.
var metaKinds = []any{
	metav1.Status{}, metav1.APIGroup{}, metav1.APIGroupList{}, metav1.APIResourceList{},
	metav1.APIVersions{}, metav1.WatchEvent{}, metav1.ListOptions{}, metav1.GetOptions{},
	metav1.DeleteOptions{}, metav1.CreateOptions{}, metav1.UpdateOptions{}, metav1.PatchOptions{},
	metav1.Table{}, metav1.TableOptions{}, metav1.PartialObjectMetadata{},
	metav1.PartialObjectMetadataList{}, metav1.List{},
}

// otherTypes are no kinds, but OpenAPI documents name them.
var otherTypes = []any{metav1.Patch{}}

// gaKinds lists all entry points, sorted by group, version and name.
func gaKinds() ([]kind, error) {
	scheme := runtime.NewScheme()
	for _, add := range groups {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	var kinds []kind
	for gvk, goType := range scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal || isMeta(goType) {
			continue
		}
		kinds = append(kinds, kind{gvk.Group, gvk.Version, gvk.Kind, goType, 0})
	}
	for _, sample := range metaKinds {
		goType := reflect.TypeOf(sample)
		kinds = append(kinds, kind{"meta.k8s.io", "v1", goType.Name(), goType, 0})
	}
	partialList := reflect.TypeOf(metav1beta1.PartialObjectMetadataList{})
	kinds = append(kinds, kind{"meta.k8s.io", "v1beta1", partialList.Name(), partialList, 0})
	sort.Slice(kinds, func(i, j int) bool {
		a, b := kinds[i], kinds[j]
		if a.group != b.group {
			return a.group < b.group
		}
		if a.version != b.version {
			return a.version < b.version
		}
		return a.name < b.name
	})
	return kinds, nil
}

// isMeta is true for the kinds that the scheme repeats in each group version.
func isMeta(goType reflect.Type) bool {
	return strings.HasPrefix(goType.PkgPath(), "k8s.io/apimachinery/")
}
