//! Images to running containers. OCI only: knows no Kubernetes kinds.
