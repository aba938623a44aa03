//! What an object is: encodings and patches, compared with Kubernetes' own code.

mod codec;
mod mutate;
mod oracle;
mod patch;
mod protobuf;
