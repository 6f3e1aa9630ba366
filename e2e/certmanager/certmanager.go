// Package certmanager makes cert-manager from its Go module, for where its release
// cannot be had: the manifest, as the release makes it of the chart by Helm, and the
// images of its programs.
//
// It is of the last version whose module holds the programs, which knows the
// Kubernetes of its time: its injector of CAs writes whole objects back, without fields
// that came later. That does for Cluster API's and our own manifests.
package certmanager

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/e2e/binaries"
	"elemento.cloud/cluster-api-provider-elemento/e2e/image"
)

// Namespace is where cert-manager is deployed.
const Namespace = "cert-manager"

// parts are the programs, and the values of the chart that say what image each has.
var parts = []struct{ program, value string }{
	{binaries.CertManagerController, "image"},
	{binaries.CertManagerWebhook, "webhook.image"},
	{binaries.CertManagerInjector, "cainjector.image"},
}

func repository(program string) string { return "elemento.cloud/" + program }

// Images are the images that [Manifest] names. What they hold is built if need be, which
// takes minutes and is told on progress (nil for silence).
func Images(ctx context.Context, progress io.Writer) ([]image.Image, error) {
	version, err := binaries.Version(ctx, binaries.CertManagerController)
	if err != nil {
		return nil, err
	}
	var images []image.Image
	for _, part := range parts {
		path, err := binaries.Build(ctx, part.program, progress)
		if err != nil {
			return nil, err
		}
		images = append(images, image.Program(repository(part.program)+":"+version, path))
	}
	return images, nil
}

// Manifest is cert-manager's manifest, for kubectl apply.
func Manifest(ctx context.Context, progress io.Writer) ([]byte, error) {
	helm, err := binaries.Build(ctx, binaries.Helm, progress)
	if err != nil {
		return nil, err
	}
	version, err := binaries.Version(ctx, binaries.CertManagerController)
	if err != nil {
		return nil, err
	}
	kubernetes, err := binaries.Version(ctx, binaries.KubeAPIServer)
	if err != nil {
		return nil, err
	}
	source, err := binaries.Source(ctx, binaries.CertManagerController)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "cert-manager-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	deploy, chart := filepath.Join(source, "deploy"), filepath.Join(dir, "chart")
	if err := writeChart(deploy, chart, version); err != nil {
		return nil, fmt.Errorf("laying out cert-manager's chart: %w", err)
	}

	args := []string{
		"template", "cert-manager", chart, "--namespace=" + Namespace, "--kube-version=" + kubernetes,
		"--set=installCRDs=true", "--set=creator=static", "--set=startupapicheck.enabled=false",
	}
	for _, part := range parts {
		args = append(args, "--set="+part.value+".repository="+repository(part.program))
	}
	cmd := exec.CommandContext(ctx, helm, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	rendered, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering cert-manager's chart: %w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	namespace, err := os.ReadFile(filepath.Join(deploy, "manifests", "namespace.yaml"))
	if err != nil {
		return nil, err
	}
	return documents(namespace, rendered), nil
}

// writeChart lays out the chart as its release does: with its version, and with the CRDs
// as one of the templates.
func writeChart(deploy, chart, version string) error {
	source := filepath.Join(deploy, "charts", "cert-manager")
	for _, dir := range []string{"", "templates"} {
		if err := os.MkdirAll(filepath.Join(chart, dir), 0o755); err != nil {
			return err
		}
		if err := copyFiles(filepath.Join(source, dir), filepath.Join(chart, dir)); err != nil {
			return err
		}
	}
	about, err := os.ReadFile(filepath.Join(source, "Chart.template.yaml"))
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(about, &fields); err != nil {
		return err
	}
	fields["version"], fields["appVersion"] = version, version
	if about, err = yaml.Marshal(fields); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(chart, "Chart.yaml"), about, 0o644); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(deploy, "crds", "*.yaml"))
	if err != nil {
		return err
	}
	var definitions [][]byte
	for _, file := range files {
		definition, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		definitions = append(definitions, definition)
	}
	template := "{{- if .Values.installCRDs }}\n" + string(documents(definitions...)) + "{{- end }}\n"
	return os.WriteFile(filepath.Join(chart, "templates", "crds.yaml"), []byte(template), 0o644)
}

// copyFiles copies the files of a directory, but not those of its directories.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type()&fs.ModeType != 0 {
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// documents joins YAML documents.
func documents(of ...[]byte) []byte {
	var all bytes.Buffer
	for i, document := range of {
		text := strings.TrimPrefix(strings.TrimSpace(string(document)), "---\n")
		if i > 0 {
			all.WriteString("---\n")
		}
		all.WriteString(text + "\n")
	}
	return all.Bytes()
}
