//! Bytes to trees and back: JSON, YAML, protobuf, Table.
