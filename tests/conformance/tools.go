// Package tools names what is built from Kubernetes' own module: the conformance suite and the
// programs in the images that it runs.
package tools

import (
	_ "k8s.io/kubernetes/test/e2e"
)
