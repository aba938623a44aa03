package main

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

const finalizer = "example.com/echo"

type reconciler struct {
	client   client.Client
	events   events.EventRecorder
	identity string
}

func (r *reconciler) setUp(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).For(&Echo{}).Owns(&corev1.ConfigMap{}).Complete(r)
}

// Reconcile applies the ConfigMap of an Echo and tells so in its status.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var echo Echo
	if err := r.client.Get(ctx, request.NamespacedName, &echo); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !echo.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.farewell(ctx, &echo)
	}
	if controllerutil.AddFinalizer(&echo, finalizer) {
		return ctrl.Result{}, r.client.Update(ctx, &echo)
	}
	owner := metav1apply.OwnerReference().
		WithAPIVersion("example.com/v1").WithKind("Echo").WithController(true).
		WithName(echo.Name).WithUID(echo.UID).WithBlockOwnerDeletion(true)
	text := strings.Repeat(echo.Spec.Text, echo.Spec.Times)
	wanted := corev1apply.ConfigMap(echo.Name, echo.Namespace).
		WithOwnerReferences(owner).WithData(map[string]string{"text": text})
	if err := r.client.Apply(ctx, wanted, client.FieldOwner("echo-operator"), client.ForceOwnership); err != nil {
		return ctrl.Result{}, err
	}
	if echo.Status.ObservedGeneration == echo.Generation {
		return ctrl.Result{}, nil
	}
	before := echo.DeepCopyObject().(*Echo)
	echo.Status.ObservedGeneration, echo.Status.By = echo.Generation, r.identity
	meta.SetStatusCondition(&echo.Status.Conditions, metav1.Condition{
		Type: "Ready", Status: metav1.ConditionTrue, Reason: "Repeated",
	})
	r.events.Eventf(&echo, nil, corev1.EventTypeNormal, "Repeated", "Repeat", "repeated %d times", echo.Spec.Times)
	return ctrl.Result{}, r.client.Status().Patch(ctx, &echo, client.MergeFrom(before))
}

// farewell leaves a note and lets the Echo go.
func (r *reconciler) farewell(ctx context.Context, echo *Echo) error {
	if !controllerutil.ContainsFinalizer(echo, finalizer) {
		return nil
	}
	note := corev1apply.ConfigMap("farewell", echo.Namespace).WithData(map[string]string{"to": echo.Name})
	if err := r.client.Apply(ctx, note, client.FieldOwner("echo-operator")); err != nil {
		return err
	}
	controllerutil.RemoveFinalizer(echo, finalizer)
	return r.client.Update(ctx, echo)
}
