package world

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
)

// fieldOwner owns what the world applies.
const fieldOwner = client.FieldOwner("elemento-world")

const clusterctlLabel = "clusterctl.cluster.x-k8s.io"

// components are the objects of a provider's manifests, by what becomes of them.
type components struct {
	// definitions are its CRDs, webhooks the configurations of its webhooks.
	definitions, webhooks []*unstructured.Unstructured
	// objects are the namespace, the service account and its permissions.
	objects []*unstructured.Unstructured
	// services lead to the webhooks; certificates, with their issuers, are what
	// cert-manager makes certificates of for them, or the Secrets with these.
	services, certificates, issuers []*unstructured.Unstructured
	// deployment is the manager as it would run in a cluster, and deployed the same as
	// it was written.
	deployment *appsv1.Deployment
	deployed   *unstructured.Unstructured
}

// render builds the kustomization in dir, keeps the result at kept, and sorts it.
func render(ctx context.Context, kubectl, dir string, variables map[string]string, kept string) (*components, error) {
	out, err := kustomize(ctx, kubectl, dir)
	if err != nil {
		return nil, err
	}
	text, err := expand(string(out), variables)
	if err != nil {
		return nil, fmt.Errorf("the kustomization %s: %w", dir, err)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(kept, []byte(text), 0o644); err != nil {
		return nil, err
	}
	c, err := sortComponents(text)
	if err != nil {
		return nil, fmt.Errorf("the kustomization %s: %w", dir, err)
	}
	return c, nil
}

// kustomize builds the kustomization in dir.
func kustomize(ctx context.Context, kubectl, dir string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, kubectl, "kustomize", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("building the kustomization %s: %w\n%s", dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?[=-]([^}]*))?\}`)

// expand puts values in for ${NAME} and ${NAME:=default}, as clusterctl does.
func expand(text string, values map[string]string) (string, error) {
	var missing []error
	expanded := variable.ReplaceAllStringFunc(text, func(found string) string {
		match := variable.FindStringSubmatchIndex(found)
		name := found[match[2]:match[3]]
		if value, ok := values[name]; ok {
			return value
		}
		if match[4] < 0 {
			missing = append(missing, fmt.Errorf("the variable %s has neither a value nor a default", name))
			return found
		}
		return found[match[4]:match[5]]
	})
	return expanded, errors.Join(missing...)
}

func sortComponents(text string) (*components, error) {
	c := &components{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(text), 4<<10)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) == 0 {
			continue
		}
		// What clusterctl puts on all that it installs, and looks for afterwards.
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[clusterctlLabel] = ""
		object.SetLabels(labels)
		switch object.GroupVersionKind().GroupKind().String() {
		case "CustomResourceDefinition.apiextensions.k8s.io":
			c.definitions = append(c.definitions, object)
		case "MutatingWebhookConfiguration.admissionregistration.k8s.io", "ValidatingWebhookConfiguration.admissionregistration.k8s.io":
			c.webhooks = append(c.webhooks, object)
		case "Deployment.apps":
			if c.deployment != nil {
				return nil, fmt.Errorf("there are two Deployments, %s and %s; a provider has one manager", c.deployment.Name, object.GetName())
			}
			c.deployment, c.deployed = &appsv1.Deployment{}, object
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, c.deployment); err != nil {
				return nil, err
			}
		case "Service":
			c.services = append(c.services, object)
		case "Certificate.cert-manager.io":
			c.certificates = append(c.certificates, object)
		case "Issuer.cert-manager.io":
			c.issuers = append(c.issuers, object)
		default:
			c.objects = append(c.objects, object)
		}
	}
	if c.deployment == nil {
		return nil, errors.New("there is no Deployment in it")
	}
	return c, nil
}

// managerContainer is the name of the container that is a provider's manager.
const managerContainer = "manager"

// manager is the container that is the provider's manager.
func (c *components) manager() (*corev1.Container, error) {
	return managerIn(c.deployment)
}

// managerIn is the container of a Deployment that is a provider's manager.
func managerIn(d *appsv1.Deployment) (*corev1.Container, error) {
	containers := d.Spec.Template.Spec.Containers
	for i := range containers {
		if containers[i].Name == managerContainer {
			return &containers[i], nil
		}
	}
	return nil, fmt.Errorf("deployment %s/%s has no container named %s", d.Namespace, d.Name, managerContainer)
}

// callByURL turns every reference to a webhook's Service into the URL of a
// process, and has the API server trust the authority that signed its certificate.
func (c *components) callByURL(host string, ca []byte) error {
	return c.eachService(func(config, service map[string]any) error {
		path, _, err := unstructured.NestedString(service, "path")
		if err != nil {
			return err
		}
		delete(config, "service")
		config["url"] = "https://" + host + path
		config["caBundle"] = base64.StdEncoding.EncodeToString(ca)
		return nil
	})
}

// trust has the API server trust the authority that signed the certificates of the
// webhooks' Services.
func (c *components) trust(ca []byte) error {
	return c.eachService(func(config, _ map[string]any) error {
		config["caBundle"] = base64.StdEncoding.EncodeToString(ca)
		return nil
	})
}

// eachService edits every reference to a webhook's Service, in the clientConfig that
// it stands in.
func (c *components) eachService(edit func(config, service map[string]any) error) error {
	rewrite := func(config map[string]any) error {
		service, found, err := unstructured.NestedMap(config, "service")
		if err != nil || !found {
			return err
		}
		return edit(config, service)
	}
	for _, definition := range c.definitions {
		config, found, err := unstructured.NestedMap(definition.Object, "spec", "conversion", "webhook", "clientConfig")
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := rewrite(config); err != nil {
			return err
		}
		if err := unstructured.SetNestedMap(definition.Object, config, "spec", "conversion", "webhook", "clientConfig"); err != nil {
			return err
		}
	}
	for _, configuration := range c.webhooks {
		hooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
		if err != nil {
			return err
		}
		for _, hook := range hooks {
			hook, ok := hook.(map[string]any)
			if !ok {
				return fmt.Errorf("%s %s: webhooks holds something that is no webhook", configuration.GetKind(), configuration.GetName())
			}
			config, ok := hook["clientConfig"].(map[string]any)
			if !ok {
				return fmt.Errorf("%s %s: a webhook has no clientConfig", configuration.GetKind(), configuration.GetName())
			}
			if err := rewrite(config); err != nil {
				return err
			}
		}
		if err := unstructured.SetNestedSlice(configuration.Object, hooks, "webhooks"); err != nil {
			return err
		}
	}
	return nil
}

// apply applies objects on the server's side, in order: a CRD may be too big for
// the annotation that a client would need.
func apply(ctx context.Context, c client.Client, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), client.ObjectKeyFromObject(object), err)
		}
	}
	return nil
}

// established waits until the API server serves the kinds that are defined.
func established(ctx context.Context, c client.Client, definitions []*unstructured.Unstructured) error {
	for _, definition := range definitions {
		if err := eventually(ctx, "CustomResourceDefinition "+definition.GetName()+" is not served yet", func(ctx context.Context) (bool, error) {
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(definition), crd); err != nil {
				return false, err
			}
			for _, condition := range crd.Status.Conditions {
				if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
					return true, nil
				}
			}
			return false, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// eventually asks until the answer is yes, an error, or ctx ends; then the error
// says what was waited for.
func eventually(ctx context.Context, waitingFor string, done func(context.Context) (bool, error)) error {
	return poll.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		if ok, err := done(ctx); ok || err != nil {
			return true, err
		}
		return false, errors.New(waitingFor)
	})
}

// hostPort joins an address and a port.
func hostPort(address string, port int) string { return net.JoinHostPort(address, strconv.Itoa(port)) }
