// Judges generated pods and labels as Kubernetes' own pod security admission does, for the unit
// test `pods_are_judged_as_kubernetes_does`, which replays what this prints.
//
// Usage: go run . > cases.jsonl. Run by hand when the module changes; CI only replays.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/admission"
	admissionapi "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const (
	pods   = 240
	newest = 40
)

// The object of a case, in JSON: what the module reads and what rk reads is the same text.
type object = map[string]any

// A dice that decides what a pod has; seeded, so that the same cases come again.
type dice struct{ *rand.Rand }

func (d dice) one(of ...any) any { return of[d.Intn(len(of))] }

// Sets a field in one of so many cases.
func (d dice) maybe(o object, in int, key string, of ...any) {
	if d.Intn(in) == 0 {
		o[key] = d.one(of...)
	}
}

func (d dice) some(most int, of ...any) []any {
	list := []any{}
	for range d.Intn(most + 1) {
		list = append(list, d.one(of...))
	}
	return list
}

func (d dice) profile() any {
	return d.one(object{"type": "RuntimeDefault"}, object{"type": "Unconfined"},
		object{"type": "Localhost", "localhostProfile": "x"}, object{"type": "RuntimeDefault"})
}

func (d dice) selinux() any {
	o := object{}
	d.maybe(o, 2, "type", "container_t", "container_engine_t", "other_t", "spc_t")
	d.maybe(o, 4, "user", "u", "")
	d.maybe(o, 4, "role", "r")
	d.maybe(o, 4, "level", "s0")
	return o
}

// What pods and containers have in common.
func (d dice) context(o object) {
	d.maybe(o, 2, "runAsNonRoot", true, true, false)
	d.maybe(o, 4, "runAsUser", 0, 1000)
	if d.Intn(2) == 0 {
		o["seccompProfile"] = d.profile()
	}
	if d.Intn(8) == 0 {
		o["appArmorProfile"] = d.profile()
	}
	if d.Intn(8) == 0 {
		o["seLinuxOptions"] = d.selinux()
	}
	d.maybe(o, 16, "windowsOptions", object{"hostProcess": true}, object{"hostProcess": false}, object{})
}

func (d dice) handler() any {
	host := object{"port": 80}
	d.maybe(host, 2, "host", "127.0.0.1", "example.com", "")
	return d.one(object{"httpGet": host}, object{"tcpSocket": host}, object{"exec": object{}})
}

func (d dice) container(name string) object {
	c := object{"name": name, "image": d.one("a", "b")}
	for _, probe := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
		if d.Intn(12) == 0 {
			c[probe] = d.handler()
		}
	}
	if d.Intn(12) == 0 {
		c["lifecycle"] = object{d.one("postStart", "preStop").(string): d.handler()}
	}
	if d.Intn(5) == 0 {
		c["ports"] = []any{
			object{"containerPort": 80, "hostPort": d.one(0, 80, 8080, 443)},
			object{"containerPort": 81, "hostPort": d.one(0, 80, 9)},
		}
	}
	if d.Intn(5) == 0 {
		return c
	}
	s := object{}
	d.context(s)
	d.maybe(s, 8, "privileged", true, true, false)
	d.maybe(s, 2, "allowPrivilegeEscalation", false, false, false, true)
	d.maybe(s, 8, "procMount", "Default", "Unmasked", "Other")
	if d.Intn(2) == 0 {
		s["capabilities"] = object{
			"add":  d.some(2, "NET_BIND_SERVICE", "CHOWN", "SYS_ADMIN", "NET_RAW"),
			"drop": d.some(2, "ALL", "ALL", "KILL"),
		}
	}
	c["securityContext"] = s
	return c
}

func (d dice) volume(name string) object {
	kind := d.one("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "projected",
		"persistentVolumeClaim", "secret", "hostPath", "hostPath", "nfs", "iscsi", "fc", "gitRepo",
		"rbd", "cephfs", "storageos", "portworxVolume").(string)
	return object{"name": name, kind: object{}}
}

func (d dice) annotations() object {
	o := object{"other": "x"}
	value := func() any { return d.one("", "runtime/default", "unconfined", "localhost/x", "a\"b") }
	for _, key := range []string{
		"container.apparmor.security.beta.kubernetes.io/c0",
		"container.apparmor.security.beta.kubernetes.io/none",
		"seccomp.security.alpha.kubernetes.io/pod",
		"container.seccomp.security.alpha.kubernetes.io/c0",
		"container.seccomp.security.alpha.kubernetes.io/i0",
		"container.seccomp.security.alpha.kubernetes.io/none",
	} {
		d.maybe(o, 3, key, value())
	}
	return o
}

func (d dice) pod(number int) object {
	spec := object{}
	for list, most := range map[string]int{"containers": 3, "initContainers": 1, "ephemeralContainers": 1} {
		// A map's order is not the same each time: each list has dice of its own.
		own := dice{rand.New(rand.NewSource(int64(number*10 + most + len(list))))}
		all := []any{}
		for at := range own.Intn(most+1) + most/3 {
			all = append(all, own.container(fmt.Sprintf("%c%d", list[0], at)))
		}
		if len(all) > 0 {
			spec[list] = all
		}
	}
	if d.Intn(4) > 0 {
		s := object{}
		d.context(s)
		if d.Intn(6) == 0 {
			s["sysctls"] = []any{
				object{"name": d.one("net.ipv4.tcp_syncookies", "net.ipv4.tcp_rmem", "kernel.msgmax"), "value": "1"},
				object{"name": d.one("net.ipv4.tcp_notsent_lowat", "net.ipv4.tcp_fin_timeout",
					"net.ipv4.ip_local_reserved_ports"), "value": "1"},
			}
		}
		spec["securityContext"] = s
	}
	for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		d.maybe(spec, 10, field, true, false)
	}
	d.maybe(spec, 5, "hostUsers", true, false, false)
	d.maybe(spec, 6, "os", object{"name": "windows"}, object{"name": "linux"})
	volumes := []any{}
	for at := range d.Intn(4) {
		volumes = append(volumes, d.volume(fmt.Sprintf("v%d", at)))
	}
	spec["volumes"] = volumes
	metadata := object{"name": fmt.Sprintf("p%d", number)}
	if d.Intn(3) == 0 {
		metadata["annotations"] = d.annotations()
	}
	return object{"metadata": metadata, "spec": spec}
}

func typed(o object) *corev1.Pod {
	text, err := json.Marshal(o)
	if err != nil {
		log.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		log.Fatal(err)
	}
	return pod
}

// All that is said of a pod, each text once.
type texts struct{ list []string }

func (t *texts) at(text string) int {
	for at, known := range t.list {
		if known == text {
			return at
		}
	}
	t.list = append(t.list, text)
	return len(t.list) - 1
}

// What a level says of a pod: numbers of texts, by the version since which it says so.
func judged(evaluator policy.Evaluator, level api.Level, pod *corev1.Pod, known *texts) object {
	judge := func(version api.Version) []int {
		by := api.LevelVersion{Level: level, Version: version}
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(by, &pod.ObjectMeta, &pod.Spec))
		said := []int{}
		for at := range result.ForbiddenReasons {
			one := policy.AggregateCheckResult{ForbiddenReasons: result.ForbiddenReasons[at : at+1],
				ForbiddenDetails: result.ForbiddenDetails[at : at+1]}
			said = append(said, known.at(one.ForbiddenDetail()))
		}
		return said
	}
	all, last := object{}, []int{-1}
	for minor := range newest {
		if said := judge(api.MajorMinorVersion(1, minor)); !slices.Equal(said, last) {
			all[fmt.Sprint(minor)], last = said, said
		}
	}
	if !slices.Equal(judge(api.LatestVersion()), last) {
		log.Fatal("the latest version is not the newest")
	}
	return all
}

func (d dice) labels() object {
	o := object{"other": "x"}
	level := func() any { return d.one("privileged", "baseline", "restricted", "restricted", "Baseline", "") }
	version := func() any {
		return d.one("latest", "v1.0", "v1.25", "v1.99", "v1.01", "v2.1", "1.25", "v1.", "", "v1.99999999999999999999")
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		d.maybe(o, 2, "pod-security.kubernetes.io/"+mode, level())
		d.maybe(o, 3, "pod-security.kubernetes.io/"+mode+"-version", version())
	}
	return o
}

func policyCase(labels object) object {
	given := map[string]string{}
	for key, value := range labels {
		given[key] = value.(string)
	}
	all := api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
	read, faults := api.PolicyToEvaluate(given, api.Policy{Enforce: all, Audit: all, Warn: all})
	said := []string{}
	for _, fault := range faults {
		said = append(said, fault.Error())
	}
	return object{"labels": labels, "enforce": read.Enforce.String(), "audit": read.Audit.String(),
		"warn": read.Warn.String(), "faults": said}
}

type lister []*corev1.Pod

func (l lister) ListPods(context.Context, string) ([]*corev1.Pod, error) { return l, nil }

// What is said when the namespace of some pods becomes stricter.
func namespaceCase(evaluator policy.Evaluator, level api.Level, given []object) object {
	list := lister{}
	for _, o := range given {
		list = append(list, typed(o))
	}
	a := admission.Admission{Configuration: &admissionapi.PodSecurityConfiguration{
		Defaults: admissionapi.PodSecurityDefaults{Enforce: "privileged", EnforceVersion: "latest",
			Audit: "privileged", AuditVersion: "latest", Warn: "privileged", WarnVersion: "latest"},
	}, Evaluator: evaluator, PodLister: list}
	if err := a.CompleteConfiguration(); err != nil {
		log.Fatal(err)
	}
	enforce := api.LevelVersion{Level: level, Version: api.LatestVersion()}
	warnings := a.EvaluatePodsInNamespace(context.Background(), "a", enforce)
	return object{"pods": given, "level": string(level), "warnings": warnings}
}

func main() {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		log.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	d := dice{rand.New(rand.NewSource(1))}
	for number := range pods {
		o := d.pod(number)
		pod := typed(o)
		known := &texts{[]string{}}
		baseline := judged(evaluator, api.LevelBaseline, pod, known)
		restricted := judged(evaluator, api.LevelRestricted, pod, known)
		out.Encode(object{"pod": o, "baseline": baseline, "restricted": restricted, "texts": known.list})
	}
	for range 80 {
		out.Encode(policyCase(d.labels()))
	}
	for at := range 6 {
		some := []object{}
		for number := range 12 {
			// Three of one controller, so that it is not only reasons that are shared.
			o := d.pod(at*100 + number/2)
			o["metadata"].(object)["name"] = fmt.Sprintf("n%d", d.Intn(1000))
			o["metadata"].(object)["namespace"] = "a"
			if number%4 == 0 {
				owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "r", UID: types.UID("u")}
				controller := true
				owner.Controller = &controller
				o["metadata"].(object)["ownerReferences"] = []any{owner}
			}
			some = append(some, o)
		}
		out.Encode(namespaceCase(evaluator, []api.Level{api.LevelBaseline, api.LevelRestricted}[at%2], some))
	}
}
