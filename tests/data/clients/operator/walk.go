package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	appsv1apply "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
)

const namespace = "walk"

// walk does with the typed clientset what controllers and tools do, and says "done" at the end.
func walk(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := clients.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return err
	}
	steps := []func(context.Context, kubernetes.Interface) error{configMaps, deployments, jobs, refusals, pages}
	for number, step := range steps {
		if err := step(ctx, clients); err != nil {
			return fmt.Errorf("step %d: %w", number, err)
		}
	}
	foreground := metav1.DeletePropagationForeground
	options := metav1.DeleteOptions{PropagationPolicy: &foreground}
	if err := clients.CoreV1().Namespaces().Delete(ctx, namespace, options); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// configMaps follows what happens by an informer, whose view must be the one of the writer.
func configMaps(ctx context.Context, clients kubernetes.Interface) error {
	maps := clients.CoreV1().ConfigMaps(namespace)
	factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps()
	seen := make(chan string, 100)
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { seen <- "added " + obj.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, obj any) { seen <- "changed " + obj.(*corev1.ConfigMap).Data["k"] },
		DeleteFunc: func(obj any) { seen <- "deleted" },
	}
	if _, err := informer.Informer().AddEventHandler(handler); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	made, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "followed", Labels: map[string]string{"a": "b"}},
		Data:       map[string]string{"k": "1"}, BinaryData: map[string][]byte{"b": {0, 1, 254, 255}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		made.Data["k"] = "2"
		_, err := maps.Update(ctx, made, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	patch := []byte(`{"data":{"k":"3"}}`)
	if _, err := maps.Patch(ctx, "followed", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "followed", *metav1.NewDeleteOptions(0)); err != nil {
		return err
	}
	for _, wanted := range []string{"added followed", "changed 2", "changed 3", "deleted"} {
		if err := hear(ctx, seen, wanted); err != nil {
			return err
		}
	}
	left, err := informer.Lister().List(labels.Everything())
	if err == nil && len(left) > 1 {
		err = fmt.Errorf("the informer still sees %d", len(left))
	}
	return err
}

// hear waits for one event and skips those of the controllers' own objects.
func hear(ctx context.Context, seen <-chan string, wanted string) error {
	for {
		select {
		case got := <-seen:
			if got == wanted {
				return nil
			}
			if got != "added kube-root-ca.crt" {
				return fmt.Errorf("%q instead of %q", got, wanted)
			}
		case <-ctx.Done():
			return fmt.Errorf("nothing instead of %q", wanted)
		}
	}
}

// deployments are made, applied, scaled, and found in a list by label.
func deployments(ctx context.Context, clients kubernetes.Interface) error {
	deployments := clients.AppsV1().Deployments(namespace)
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "d"}},
		Spec: corev1.PodSpec{
			// It fits nowhere: this is about the API.
			NodeSelector: map[string]string{"no": "where"},
			Containers:   []corev1.Container{{Name: "c", Image: "none"}},
		},
	}
	made, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Labels: map[string]string{"app": "d"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}, Template: template,
		},
	}, metav1.CreateOptions{FieldManager: "walk"})
	if err != nil {
		return err
	}
	if made.Spec.Replicas == nil || *made.Spec.Replicas != 1 || made.Spec.Template.Spec.DNSPolicy != corev1.DNSClusterFirst {
		return fmt.Errorf("no defaults in %v", made.Spec)
	}
	applied := appsv1apply.Deployment("d", namespace).WithLabels(map[string]string{"more": "yes"})
	if _, err := deployments.Apply(ctx, applied, metav1.ApplyOptions{FieldManager: "other"}); err != nil {
		return err
	}
	conflicting := appsv1apply.Deployment("d", namespace).WithLabels(map[string]string{"app": "mine"})
	_, err = deployments.Apply(ctx, conflicting, metav1.ApplyOptions{FieldManager: "other"})
	if !apierrors.IsConflict(err) {
		return fmt.Errorf("no conflict but %v", err)
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		scale, err := deployments.GetScale(ctx, "d", metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = 3
		_, err = deployments.UpdateScale(ctx, "d", scale, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	list, err := deployments.List(ctx, metav1.ListOptions{LabelSelector: "more=yes"})
	if err == nil && (len(list.Items) != 1 || *list.Items[0].Spec.Replicas != 3) {
		err = fmt.Errorf("not one with three replicas: %v", list.Items)
	}
	return err
}

// jobs get what the API server gives them.
func jobs(ctx context.Context, clients kubernetes.Interface) error {
	suspended := true
	job, err := clients.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "j-"},
		Spec: batchv1.JobSpec{Suspend: &suspended, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "none"}},
		}}},
	}, metav1.CreateOptions{})
	if err == nil && job.Spec.Selector == nil {
		err = errors.New("no selector")
	}
	return err
}

// refusals are of the kinds that clients branch on.
func refusals(ctx context.Context, clients kubernetes.Interface) error {
	maps := clients.CoreV1().ConfigMaps(namespace)
	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	if _, err := maps.Create(ctx, one, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, again := maps.Create(ctx, one, metav1.CreateOptions{})
	_, absent := maps.Get(ctx, "absent", metav1.GetOptions{})
	stale := one.DeepCopy()
	stale.ResourceVersion = "1"
	_, conflict := maps.Update(ctx, stale, metav1.UpdateOptions{})
	_, invalid := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "No Name"}}, metav1.CreateOptions{})
	_, tooOld := maps.List(ctx, metav1.ListOptions{ResourceVersion: "99999999999", TimeoutSeconds: new(int64)})
	switch {
	case !apierrors.IsAlreadyExists(again):
		return fmt.Errorf("again: %v", again)
	case !apierrors.IsNotFound(absent):
		return fmt.Errorf("absent: %v", absent)
	case !apierrors.IsConflict(conflict):
		return fmt.Errorf("conflict: %v", conflict)
	case !apierrors.IsInvalid(invalid):
		return fmt.Errorf("invalid: %v", invalid)
	case !apierrors.IsTimeout(tooOld) && !apierrors.IsServerTimeout(tooOld):
		return fmt.Errorf("not reached yet: %v", tooOld)
	}
	return nil
}

// pages of a list are of one state.
func pages(ctx context.Context, clients kubernetes.Interface) error {
	secrets := clients.CoreV1().Secrets(namespace)
	for i := range 25 {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s-%02d", i)}, StringData: map[string]string{"k": "v"},
		}
		if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	options, total := metav1.ListOptions{Limit: 10}, 0
	for {
		page, err := secrets.List(ctx, options)
		if err != nil {
			return err
		}
		total += len(page.Items)
		if options.Continue == "" {
			if err := secrets.Delete(ctx, "s-24", metav1.DeleteOptions{}); err != nil {
				return err
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if total != 25 {
		return fmt.Errorf("%d on all pages", total)
	}
	return secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}
