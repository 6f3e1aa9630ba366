// Package cloudinit reads a NoCloud seed as far as a machine made by Cluster
// API needs: template variables, files to write, commands to run. It runs
// nothing.
package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"
)

// fileLimit is the largest file, in bytes, that a seed may unpack to; a
// compressed one must not fill the memory.
const fileLimit = 16 << 20

// Errors of a seed. They never hold text of the seed, which has keys and
// tokens in it.
var (
	ErrMetaData = errors.New("meta-data is not a YAML mapping")
	ErrUserData = errors.New("user-data is not a YAML mapping that cloud-config can be read from")
)

// FileError is a file of user-data that cannot be written.
type FileError struct{ Path, Reason string }

func (e *FileError) Error() string { return fmt.Sprintf("write_files: %s: %s", e.Path, e.Reason) }

// Machine is what a seed makes of a machine.
type Machine struct {
	InstanceID string
	// Hostname is empty where the meta-data names none.
	Hostname string
	// Files are the contents by path.
	Files map[string][]byte
	// Commands are the runcmd entries in order.
	Commands []string
}

// Read interprets a seed. User-data that is not cloud-config, or missing,
// leaves a machine without files and commands: that is no error, as other
// formats are for other kinds of images.
func Read(userData, metaData []byte) (*Machine, error) {
	meta := map[string]any{}
	if err := yaml.Unmarshal(metaData, &meta); err != nil {
		return nil, ErrMetaData // the cause quotes the text
	}
	machine := &Machine{Files: map[string][]byte{}}
	machine.InstanceID, _ = meta["instance-id"].(string)
	machine.Hostname, _ = meta["local-hostname"].(string)

	text := string(userData)
	if rest, isTemplate := cutHeader(text, "## template: jinja"); isTemplate {
		rendered, err := render(rest, variables(meta, machine))
		if err != nil {
			return nil, fmt.Errorf("user-data: %w", err)
		}
		text = rendered
	}
	text, isCloudConfig := cutHeader(text, "#cloud-config")
	if !isCloudConfig {
		return machine, nil
	}
	var config cloudConfig
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		return nil, ErrUserData // the cause quotes the text
	}
	for _, file := range config.WriteFiles {
		body, err := decode(file.Encoding, file.Content)
		if err != nil {
			return nil, &FileError{file.Path, err.Error()}
		}
		if file.Append {
			body = append(machine.Files[file.Path], body...)
		}
		machine.Files[file.Path] = body
	}
	for _, entry := range config.RunCommands {
		switch entry := entry.(type) {
		case string:
			machine.Commands = append(machine.Commands, entry)
		case []any:
			words := make([]string, len(entry))
			for i, word := range entry {
				words[i] = fmt.Sprint(word)
			}
			machine.Commands = append(machine.Commands, strings.Join(words, " "))
		}
	}
	return machine, nil
}

type cloudConfig struct {
	WriteFiles []struct {
		Path     string `json:"path"`
		Encoding string `json:"encoding"`
		Content  string `json:"content"`
		Append   bool   `json:"append"`
	} `json:"write_files"`
	RunCommands []any `json:"runcmd"`
}

// cutHeader takes the first line away if it is the header.
func cutHeader(text, header string) (string, bool) {
	line, rest, _ := strings.Cut(text, "\n")
	if strings.TrimSpace(line) != header {
		return text, false
	}
	return rest, true
}

// decode undoes the encodings that cloud-init knows.
func decode(encoding, body string) ([]byte, error) {
	var fromBase64, fromGzip bool
	switch strings.ToLower(encoding) {
	case "", "text/plain":
	case "b64", "base64":
		fromBase64 = true
	case "gz", "gzip":
		fromGzip = true
	case "gz+b64", "gz+base64", "gzip+b64", "gzip+base64":
		fromBase64, fromGzip = true, true
	default:
		return nil, fmt.Errorf("encoding %q is unknown", encoding)
	}
	raw := []byte(body)
	if fromBase64 {
		var err error
		if raw, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), "")); err != nil {
			return nil, errors.New("content is not base64")
		}
	}
	if !fromGzip {
		return raw, nil
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("content is not gzip")
	}
	if raw, err = io.ReadAll(io.LimitReader(unpacked, fileLimit+1)); err != nil {
		return nil, errors.New("content is damaged gzip")
	}
	if len(raw) > fileLimit {
		return nil, fmt.Errorf("content is larger than %d bytes", fileLimit)
	}
	return raw, nil
}

// variables are what templates can use: the meta-data under ds.meta_data, the
// standard names under v1 and, as aliases, at the top.
func variables(meta map[string]any, machine *Machine) map[string]any {
	standard := map[string]any{
		"instance_id": machine.InstanceID, "local_hostname": machine.Hostname,
		"cloud_name": "unknown", "platform": "nocloud", "distro": "ubuntu", "region": nil, "availability_zone": nil,
	}
	all := map[string]any{"v1": maps.Clone(standard), "ds": map[string]any{"meta_data": underscored(meta)}}
	maps.Copy(all, standard)
	return all
}

// underscored gives each name with hyphens, which a template's dotted path
// cannot spell, a second name with underscores.
func underscored(value any) any {
	switch value := value.(type) {
	case map[string]any:
		result := make(map[string]any, len(value))
		for name, inner := range value {
			result[name] = underscored(inner)
		}
		for name := range value {
			alias := strings.ReplaceAll(name, "-", "_")
			if _, taken := value[alias]; !taken {
				result[alias] = result[name]
			}
		}
		return result
	case []any:
		result := make([]any, len(value))
		for i, inner := range value {
			result[i] = underscored(inner)
		}
		return result
	}
	return value
}
