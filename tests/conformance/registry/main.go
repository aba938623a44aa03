// Serves the images of OCI archives as a registry does, for tests that insist on pulling.
//
// Usage: registry ADDRESS ARCHIVE...
package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

// part is where a blob lies in an archive.
type part struct {
	file *os.File
	from int64
	size int64
}

type manifest struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// blobs by digest, and manifests by "repository:tag".
var (
	blobs     = map[string]part{}
	manifests = map[string]manifest{}
)

func open(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	archive := tar.NewReader(file)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		from, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if digest, ok := strings.CutPrefix(header.Name, "blobs/sha256/"); ok {
			blobs["sha256:"+digest] = part{file, from, header.Size}
		}
		if header.Name != "index.json" {
			continue
		}
		var index struct{ Manifests []manifest }
		if err := json.NewDecoder(archive).Decode(&index); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, manifest := range index.Manifests {
			name := manifest.Annotations["io.containerd.image.name"]
			_, name, _ = strings.Cut(name, "/")
			manifests[name] = manifest
		}
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	kind, digest := "application/octet-stream", ""
	if name, reference, ok := strings.Cut(path, "/manifests/"); ok {
		kind, digest = "application/vnd.oci.image.manifest.v1+json", reference
		if found, ok := manifests[name+":"+reference]; ok {
			digest = found.Digest
		}
	} else if _, reference, ok := strings.Cut(path, "/blobs/"); ok {
		digest = reference
	} else if path == "" {
		return
	}
	blob, ok := blobs[digest]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", fmt.Sprint(blob.size))
	w.Header().Set("Docker-Content-Digest", digest)
	if r.Method != http.MethodHead {
		// Whoever hangs up need not be told.
		_, _ = io.Copy(w, io.NewSectionReader(blob.file, blob.from, blob.size))
	}
}

func main() {
	for _, path := range os.Args[2:] {
		if err := open(path); err != nil {
			log.Fatal(err)
		}
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(serve)))
}
