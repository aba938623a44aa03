//! Certificate authorities, leaf certificates, signing keys, tokens, kubeconfigs.
