//! Assigned pods to containers, and their truth back: the kubelet's and kube-proxy's duties.
