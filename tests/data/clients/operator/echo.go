package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Echo is the operator's own kind: a text that a ConfigMap is to repeat.
type Echo struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              EchoSpec   `json:"spec,omitempty"`
	Status            EchoStatus `json:"status,omitempty"`
}

// EchoSpec says what is to be repeated, and how often.
type EchoSpec struct {
	Text  string `json:"text"`
	Times int    `json:"times,omitempty"`
}

// EchoStatus says for which generation that is so, and who saw to it.
type EchoStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	By                 string             `json:"by,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// EchoList is a list of them.
type EchoList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Echo `json:"items"`
}

// DeepCopyInto copies into another one.
func (in *Echo) DeepCopyInto(out *Echo) {
	*out = *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Status.Conditions = nil
	for _, condition := range in.Status.Conditions {
		out.Status.Conditions = append(out.Status.Conditions, *condition.DeepCopy())
	}
}

// DeepCopyObject implements runtime.Object.
func (in *Echo) DeepCopyObject() runtime.Object {
	out := new(Echo)
	in.DeepCopyInto(out)
	return out
}

// DeepCopyObject implements runtime.Object.
func (in *EchoList) DeepCopyObject() runtime.Object {
	out := &EchoList{TypeMeta: in.TypeMeta}
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]Echo, len(in.Items))
	for i := range in.Items {
		in.Items[i].DeepCopyInto(&out.Items[i])
	}
	return out
}

func addToScheme(scheme *runtime.Scheme) error {
	version := schema.GroupVersion{Group: "example.com", Version: "v1"}
	scheme.AddKnownTypes(version, &Echo{}, &EchoList{})
	metav1.AddToGroupVersion(scheme, version)
	return nil
}
