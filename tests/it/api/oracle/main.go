// Command oracle answers questions about Kubernetes' own encoders and patches, so that rk's can be
// compared with them. It reads one JSON request a line from standard input and answers with one
// JSON line each. It is test code: nothing of it is part of rk.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// request asks for one operation. Which fields matter depends on the operation.
type request struct {
	Op       string          `json:"op"`
	Group    string          `json:"group"`
	Version  string          `json:"version"`
	Kind     string          `json:"kind"`
	Seed     int64           `json:"seed"`
	Text     string          `json:"text"`     // a JSON or YAML text, possibly malformed
	Original json.RawMessage `json:"original"` // an object
	Patch    json.RawMessage `json:"patch"`
	Bytes    []byte          `json:"bytes"` // protobuf
	Writing  writing         `json:"writing"`
}

// answer is the result; Error is the error's text if the operation failed.
type answer struct {
	JSON    json.RawMessage `json:"json,omitempty"`
	Bytes   []byte          `json:"bytes,omitempty"`
	Text    string          `json:"text,omitempty"`
	Strict  []string        `json:"strict,omitempty"`
	Error   string          `json:"error,omitempty"`
	Kinds   [][3]string     `json:"kinds,omitempty"`
	Invalid bool            `json:"invalid,omitempty"`
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		var given answer
		if err := json.Unmarshal(line, &asked); err != nil {
			given.Error = "request: " + err.Error()
		} else if err := serve(asked, &given); err != nil {
			given.Error = err.Error()
		}
		packed, err := json.Marshal(given)
		if err != nil {
			packed, _ = json.Marshal(answer{Error: "answer: " + err.Error(), Invalid: true})
		}
		if _, err := out.Write(append(packed, '\n')); err != nil || out.Flush() != nil {
			return
		}
	}
}

// serve runs one operation. A panic in it is an answer too.
func serve(asked request, given *answer) (err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("panic: %v", caught)
		}
	}()
	gvk := schema.GroupVersionKind{Group: asked.Group, Version: asked.Version, Kind: asked.Kind}
	switch asked.Op {
	case "kinds":
		given.Kinds = kinds()
		return nil
	case "generate":
		return generate(gvk, asked.Seed, given)
	case "decode":
		return decodeJSON(gvk, []byte(asked.Text), given)
	case "yaml":
		return decodeYAML([]byte(asked.Text), given)
	case "from-protobuf":
		return fromProtobuf(asked.Bytes, gvk, given)
	case "to-protobuf":
		return toProtobuf(gvk, asked.Original, given)
	case "strategic":
		return strategic(gvk, asked.Original, asked.Patch, given)
	case "merge":
		return merge(asked.Original, asked.Patch, given)
	case "json-patch":
		return jsonPatch(asked.Original, asked.Patch, given)
	case "manage":
		return manage(gvk, asked.Original, asked.Patch, asked.Writing, given)
	case "openapi-v2":
		return openapiV2([]byte(asked.Text), asked.Bytes, given)
	case "openapi-v3":
		return openapiV3([]byte(asked.Text), given)
	case "quantity":
		return quantity(asked.Text, given)
	}
	return fmt.Errorf("unknown operation %q", asked.Op)
}
