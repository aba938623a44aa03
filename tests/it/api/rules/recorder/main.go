// Answers requests as kube-apiserver's own strategies, defaults and printers do, for the cases that
// the unit test `rules_answer_as_kubernetes_does` replays.
//
// Usage: go run . FILE...: each line of a file is a case (name, op, obj, and old and sub for an
// update); its `want` is recorded anew. Run by hand when cases are added; CI only replays.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
)

// The time at which rows are made; it is that of the test.
var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// The UID that every created object gets, so that what is made of it can be compared.
const uid = "00000000-0000-0000-0000-000000000001"

// A kind that this program has no strategy for: its cases stay as they are.
var errUnknown = errors.New("no strategy")

type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

type kind struct {
	resource string
	main     strategy
	status   rest.RESTUpdateStrategy
}

var kinds = map[string]kind{
	"ControllerRevision":    {"controllerrevisions", controllerrevision.Strategy, nil},
	"DaemonSet":             {"daemonsets", daemonset.Strategy, daemonset.StatusStrategy},
	"Deployment":            {"deployments", deployment.Strategy, deployment.StatusStrategy},
	"ReplicaSet":            {"replicasets", replicaset.Strategy, replicaset.StatusStrategy},
	"StatefulSet":           {"statefulsets", statefulset.Strategy, statefulset.StatusStrategy},
	"CronJob":               {"cronjobs", cronjob.Strategy, cronjob.StatusStrategy},
	"Job":                   {"jobs", job.Strategy, job.StatusStrategy},
	"LimitRange":            {"limitranges", limitrange.Strategy, nil},
	"Pod":                   {"pods", pod.Strategy, pod.StatusStrategy},
	"PodTemplate":           {"podtemplates", podtemplate.Strategy, nil},
	"ReplicationController": {"replicationcontrollers", replicationcontroller.Strategy, replicationcontroller.StatusStrategy},
	"ResourceQuota":         {"resourcequotas", resourcequota.Strategy, resourcequota.StatusStrategy},
	"RuntimeClass":          {"runtimeclasses", runtimeclass.Strategy, nil},
	"PodDisruptionBudget":   {"poddisruptionbudgets", poddisruptionbudget.Strategy, poddisruptionbudget.StatusStrategy},
	"PriorityClass":         {"priorityclasses", priorityclass.Strategy, nil},

	"HorizontalPodAutoscaler": {"horizontalpodautoscalers", horizontalpodautoscaler.Strategy, horizontalpodautoscaler.StatusStrategy},
	"VolumeAttachment":        {"volumeattachments", volumeattachment.Strategy, volumeattachment.StatusStrategy},

	"ResourceClaim":         {"resourceclaims", resourceclaim.NewStrategy(nil, nil), nil},
	"ResourceClaimTemplate": {"resourceclaimtemplates", resourceclaimtemplate.NewStrategy(nil), nil},
	"ResourceSlice":         {"resourceslices", resourceslice.Strategy, nil},

	"MutatingAdmissionPolicy":          {"mutatingadmissionpolicies", mutatingadmissionpolicy.NewStrategy(nil, nil), nil},
	"MutatingAdmissionPolicyBinding":   {"mutatingadmissionpolicybindings", mutatingadmissionpolicybinding.NewStrategy(nil, nil, nil), nil},
	"MutatingWebhookConfiguration":     {"mutatingwebhookconfigurations", mutatingwebhookconfiguration.Strategy, nil},
	"ValidatingAdmissionPolicy":        {"validatingadmissionpolicies", validatingadmissionpolicy.NewStrategy(nil, nil), nil},
	"ValidatingAdmissionPolicyBinding": {"validatingadmissionpolicybindings", validatingadmissionpolicybinding.NewStrategy(nil, nil, nil), nil},
	"ValidatingWebhookConfiguration":   {"validatingwebhookconfigurations", validatingwebhookconfiguration.Strategy, nil},
}

func decode(raw json.RawMessage) (runtime.Object, *schema.GroupVersionKind, error) {
	return legacyscheme.Codecs.UniversalDecoder().Decode(raw, nil, nil)
}

func encode(object runtime.Object, gvk *schema.GroupVersionKind) (any, error) {
	external, err := legacyscheme.Scheme.ConvertToVersion(object, gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	info, _ := runtime.SerializerInfoForMediaType(legacyscheme.Codecs.SupportedMediaTypes(), "application/json")
	if err := info.Serializer.Encode(external, &out); err != nil {
		return nil, err
	}
	var tree map[string]any
	decoder := json.NewDecoder(&out)
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	if metadata, ok := tree["metadata"].(map[string]any); ok {
		for _, stamp := range []string{"uid", "creationTimestamp"} {
			delete(metadata, stamp)
		}
	}
	return tree, nil
}

func causes(err error) ([]string, error) {
	found := []string{}
	if err == nil {
		return found, nil
	}
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return nil, err
	}
	for _, c := range status.Status().Details.Causes {
		found = append(found, fmt.Sprintf("%s|%s|%s", c.Type, c.Field, c.Message))
	}
	if len(found) == 0 {
		return nil, err
	}
	sort.Strings(found)
	return found, nil
}

func table(object runtime.Object) (any, error) {
	generator := printers.NewTableGenerator().With(printersinternal.AddHandlers)
	made, err := generator.GenerateTable(object, printers.GenerateOptions{Wide: true})
	if err != nil {
		return nil, err
	}
	columns := []string{}
	for _, c := range made.ColumnDefinitions {
		columns = append(columns, fmt.Sprintf("%s/%d", c.Name, c.Priority))
	}
	row := made.Rows[0].Cells
	for i, c := range made.ColumnDefinitions {
		accessor, _ := meta.Accessor(object)
		created := accessor.GetCreationTimestamp()
		if c.Name == "Age" && !created.IsZero() {
			row[i] = duration.HumanDuration(now.Sub(created.Time))
		}
		if cron, ok := object.(*batch.CronJob); ok && c.Name == "Last Schedule" && cron.Status.LastScheduleTime != nil {
			row[i] = duration.HumanDuration(now.Sub(cron.Status.LastScheduleTime.Time))
		}
	}
	return map[string]any{"columns": columns, "row": row}, nil
}

func answer(c map[string]json.RawMessage) (any, error) {
	text := func(key string) (value string) {
		_ = json.Unmarshal(c[key], &value)
		return
	}
	object, gvk, err := decode(c["obj"])
	if err != nil {
		return nil, err
	}
	k, ok := kinds[gvk.Kind]
	if !ok {
		return nil, errUnknown
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, err
	}
	ctx := request.WithNamespace(context.Background(), accessor.GetNamespace())
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, APIGroup: gvk.Group, APIVersion: gvk.Version,
		Resource: k.resource, Subresource: text("sub"),
	})
	warnings := []string{}
	switch text("op") {
	case "table":
		return table(object)
	case "create":
		stamp(accessor)
		if err = rest.BeforeCreate(k.main, ctx, object); err == nil {
			warnings = append(warnings, k.main.WarningsOnCreate(ctx, object)...)
		}
	case "update":
		old, _, failed := decode(c["old"])
		if failed != nil {
			return nil, failed
		}
		update := rest.RESTUpdateStrategy(k.main)
		switch text("sub") {
		case "status":
			update = k.status
		case "resize":
			update = pod.ResizeStrategy
		}
		if err = rest.BeforeUpdate(update, ctx, object, old); err == nil {
			warnings = append(warnings, update.WarningsOnUpdate(ctx, object, old)...)
		}
	default:
		return nil, fmt.Errorf("no such operation %q", text("op"))
	}
	found, err := causes(err)
	if err != nil {
		return nil, err
	}
	result := map[string]any{"causes": found}
	if len(found) == 0 {
		result["warnings"] = warnings
		if result["obj"], err = encode(object, gvk); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// stamp gives an object what the server gives it before its strategy sees it.
func stamp(accessor metav1.Object) {
	accessor.SetUID(types.UID(uid))
	accessor.SetCreationTimestamp(metav1.NewTime(now))
}

func record(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20)
	for number := 1; lines.Scan(); number++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var c map[string]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
		want, err := answer(c)
		if errors.Is(err, errUnknown) {
			out.Write(lines.Bytes())
			out.WriteByte('\n')
			continue
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
		if c["want"], err = marshal(want); err != nil {
			return err
		}
		line, err := marshal(c)
		if err != nil {
			return err
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(out.Bytes()), err
}

func main() {
	for _, path := range os.Args[1:] {
		if err := record(path); err != nil {
			log.Fatal(err)
		}
	}
}
