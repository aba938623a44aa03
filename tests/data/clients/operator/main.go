// Two unmodified clients of Kubernetes in one program: an operator made with controller-runtime
// ("operator"), and a walk through client-go's typed clientset and informers ("walk").
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	contentType := flag.String("content-type", "", "media type of requests and answers")
	identity := flag.String("identity", "", "name in the election of a leader")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	config := ctrl.GetConfigOrDie()
	config.ContentType = *contentType
	if *contentType != "" {
		// Kinds of its own are JSON in any case.
		config.AcceptContentTypes = *contentType + ",application/json"
	}
	ctx := ctrl.SetupSignalHandler()
	var err error
	switch flag.Arg(0) {
	case "operator":
		err = operate(ctx, config, *identity)
	case "walk":
		err = walk(ctx, config)
	default:
		err = fmt.Errorf("operator or walk, not %q", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// operate runs the controllers until the context ends.
func operate(ctx context.Context, config *rest.Config, identity string) error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := addToScheme(scheme); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       server.Options{BindAddress: "0"},
		LeaderElection:                true,
		LeaderElectionID:              "echo-operator",
		LeaderElectionNamespace:       "default",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return err
	}
	reconciler := &reconciler{
		client:   manager.GetClient(),
		events:   manager.GetEventRecorder("echo-operator"),
		identity: identity,
	}
	if err := reconciler.setUp(manager); err != nil {
		return err
	}
	go func() {
		<-manager.Elected()
		fmt.Println("leads:", identity)
	}()
	return manager.Start(ctx)
}
