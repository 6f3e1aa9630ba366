package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// bodyLimit is the largest request body, in bytes, that a real API server
// takes too.
const bodyLimit = 3 << 20

// Server serves a store over HTTP as one API server of the cluster.
type Server struct {
	Store *Store
	// Version is the server's Kubernetes version, such as "v1.36.3".
	Version string
	// Allow decides who may do what; an error is sent to the client. It must
	// be set.
	Allow func(*http.Request) *apierrors.StatusError
	// DialPod opens a connection to a port of a pod, for port forwarding. It
	// must be set.
	DialPod func(ctx context.Context, namespace, pod string, port uint16) (net.Conn, error)
}

// call is a request taken apart.
type call struct {
	*http.Request
	w           http.ResponseWriter
	resource    *resource
	key         key
	subresource string
	dryRun      bool
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := s.Allow(r); refusal != nil {
		writeError(w, refusal)
		return
	}
	if document := s.document(r.URL.Path); document != nil {
		writeJSON(w, http.StatusOK, document)
		return
	}
	if health(r.URL.Path) {
		_, _ = io.WriteString(w, "ok")
		return
	}
	c, ok := parse(w, r)
	if !ok {
		writeError(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, schemaUnknown, "", "the server could not find the requested resource", 0, true))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
	if err := s.serve(c); err != nil {
		writeError(w, err)
	}
}

func (s *Server) serve(c *call) error {
	switch {
	case c.subresource == "portforward" && c.resource == pods:
		return s.portForward(c)
	case c.subresource == "eviction" && c.resource == pods && c.Method == http.MethodPost:
		return s.evict(c)
	case c.subresource != "" && (c.subresource != "status" || !c.resource.status):
		return apierrors.NewNotFound(c.resource.groupResource(), c.key.name+"/"+c.subresource)
	}
	collection := c.key.name == ""
	switch c.Method {
	case http.MethodGet:
		if collection && c.URL.Query().Get("watch") == "true" {
			return s.watch(c)
		}
		if collection {
			return s.list(c)
		}
		found, err := s.Store.get(c.resource, c.key)
		if err == nil && wantsTable(c.Request) {
			writeJSON(c.w, http.StatusOK, tableOf(c.resource, []*record{found}, strconv.FormatUint(found.revision, 10)))
			return nil
		}
		return c.answer(http.StatusOK)(found, err)
	case http.MethodPost:
		if collection {
			return s.create(c)
		}
	case http.MethodPut:
		if !collection {
			return s.replace(c)
		}
	case http.MethodPatch:
		if !collection {
			return s.patch(c)
		}
	case http.MethodDelete:
		return s.delete(c, collection)
	}
	return apierrors.NewMethodNotSupported(c.resource.groupResource(), c.Method)
}

// answer writes the object that a store's method returned.
func (c *call) answer(code int) func(*record, error) error {
	return func(found *record, err error) error {
		if err != nil {
			return err
		}
		c.w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		c.w.WriteHeader(code)
		_, _ = c.w.Write(found.json)
		return nil
	}
}

func (s *Server) list(c *call) error {
	sel, err := c.selection()
	if err != nil {
		return err
	}
	records, revision := s.Store.list(c.resource, c.key.namespace, sel)
	if wantsTable(c.Request) {
		writeJSON(c.w, http.StatusOK, tableOf(c.resource, records, strconv.FormatUint(revision, 10)))
		return nil
	}
	c.w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"kind":"%sList","apiVersion":"%s","metadata":{"resourceVersion":"%d"},"items":[`, c.resource.kind, c.resource.apiVersion(), revision)
	for i, found := range records {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(found.json)
	}
	body.WriteString("]}\n")
	_, _ = c.w.Write(body.Bytes())
	return nil
}

func (s *Server) create(c *call) error {
	object, err := c.decodeBody()
	if err != nil {
		return err
	}
	meta := metadataOf(object)
	if namespace, _ := meta["namespace"].(string); namespace != "" && namespace != c.key.namespace {
		return apierrors.NewBadRequest("the namespace of the object does not match the namespace of the request")
	}
	// A kubelet registers its node with a status; all others report it later.
	if c.resource.status && c.resource != nodes {
		delete(object, "status")
	}
	name, _ := meta["name"].(string)
	return c.answer(http.StatusCreated)(s.Store.create(c.resource, key{c.key.namespace, name}, object, c.dryRun))
}

func (s *Server) replace(c *call) error {
	object, err := c.decodeBody()
	if err != nil {
		return err
	}
	if name := metadataOf(object)["name"]; name != c.key.name {
		return apierrors.NewBadRequest("the name of the object does not match the name of the request")
	}
	return c.answer(http.StatusOK)(s.Store.update(c.resource, c.key, c.dryRun, func(old content) (content, error) {
		return c.keepOthers(old, object), nil
	}))
}

// keepOthers returns the written object with what the endpoint may not change
// taken from the old one: the status, or all but it and the metadata.
func (c *call) keepOthers(old, written content) content {
	if !c.resource.status {
		return written
	}
	from, to := old, written
	if c.subresource == "status" {
		from, to = written, maps.Clone(old)
		to["metadata"] = written["metadata"]
	}
	delete(to, "status")
	if status, set := from["status"]; set {
		to["status"] = status
	}
	return to
}

func (s *Server) patch(c *call) error {
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return apierrors.NewBadRequest("the request's body cannot be read")
	}
	kind, _, _ := strings.Cut(c.Header.Get("Content-Type"), ";")
	patched := func(old content) (content, error) {
		object, err := c.applyPatch(types.PatchType(kind), old, body)
		if err != nil {
			return nil, err
		}
		return c.keepOthers(old, object), nil
	}
	answer, err := s.Store.update(c.resource, c.key, c.dryRun, patched)
	if apierrors.IsNotFound(err) && types.PatchType(kind) == types.ApplyYAMLPatchType && c.subresource == "" {
		object, err := c.applyPatch(types.ApplyYAMLPatchType, content{}, body)
		if err != nil {
			return err
		}
		return c.answer(http.StatusCreated)(s.Store.create(c.resource, c.key, object, c.dryRun))
	}
	return c.answer(http.StatusOK)(answer, err)
}

func (c *call) applyPatch(kind types.PatchType, old content, patch []byte) (content, error) {
	original, err := json.Marshal(old)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	typed, err := scheme.Scheme.New(c.resource.gvk())
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if kind == types.ApplyYAMLPatchType {
		if patch, err = yaml.YAMLToJSON(patch); err != nil {
			return nil, apierrors.NewBadRequest("the patch is not YAML")
		}
	}
	var result []byte
	switch kind {
	case types.JSONPatchType:
		var operations jsonpatch.Patch
		if operations, err = jsonpatch.DecodePatch(patch); err == nil {
			result, err = operations.Apply(original)
		}
	case types.MergePatchType:
		result, err = jsonpatch.MergePatch(original, patch)
	case types.StrategicMergePatchType, types.ApplyYAMLPatchType:
		result, err = strategicpatch.StrategicMergePatch(original, patch, typed)
	default:
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: fmt.Sprintf("patches of type %q are not supported", kind),
		}}
	}
	if err != nil {
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "patch", c.resource.groupResource(), c.key.name, "the patch cannot be applied: "+err.Error(), 0, false)
	}
	return c.decode(result)
}

func (s *Server) delete(c *call, collection bool) error {
	var options metav1.DeleteOptions
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return apierrors.NewBadRequest("the request's body cannot be read")
	}
	if len(body) > 0 {
		if err := runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), body, &options); err != nil {
			return apierrors.NewBadRequest("the delete options do not decode")
		}
	}
	only := metav1.Preconditions{}
	if options.Preconditions != nil {
		only = *options.Preconditions
	}
	dryRun := c.dryRun || len(options.DryRun) > 0
	if !collection {
		return c.answer(http.StatusOK)(s.Store.delete(c.resource, c.key, only, dryRun))
	}
	sel, err := c.selection()
	if err != nil {
		return err
	}
	records, _ := s.Store.list(c.resource, c.key.namespace, sel)
	for _, found := range records {
		if _, err := s.Store.delete(c.resource, found.key, only, dryRun); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	writeJSON(c.w, http.StatusOK, metav1.Status{TypeMeta: statusType, Status: metav1.StatusSuccess})
	return nil
}

// evict deletes the pod, unless a disruption budget holds it back.
func (s *Server) evict(c *call) error {
	if err := s.Store.evict(c.key, c.dryRun); err != nil {
		return err
	}
	writeJSON(c.w, http.StatusCreated, metav1.Status{TypeMeta: statusType, Status: metav1.StatusSuccess})
	return nil
}

// decodeBody reads an object in any encoding that clients use.
func (c *call) decodeBody() (content, error) {
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return nil, apierrors.NewBadRequest("the request's body cannot be read")
	}
	return c.decode(body)
}

// strictly rejects fields that do not exist, where a client wishes that.
var strictly = serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// decode goes through the kind's type, which rejects fields of a wrong type
// and drops those that do not exist.
func (c *call) decode(body []byte) (content, error) {
	typed, err := scheme.Scheme.New(c.resource.gvk())
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	gvk := c.resource.gvk()
	decoder := scheme.Codecs.UniversalDeserializer()
	if c.URL.Query().Get("fieldValidation") == metav1.FieldValidationStrict {
		decoder = strictly
	}
	object, _, err := decoder.Decode(body, &gvk, typed)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object does not decode as %s: %v", c.resource.kind, err))
	}
	if object != typed {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object is not a %s", c.resource.kind))
	}
	return toContent(c.resource, typed)
}

func (c *call) selection() (selection, error) {
	query := c.URL.Query()
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return selection{}, apierrors.NewBadRequest("labelSelector: " + err.Error())
	}
	byField, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return selection{}, apierrors.NewBadRequest("fieldSelector: " + err.Error())
	}
	return selection{byLabel, byField}, nil
}

// parse takes a path apart: /api/v1 or /apis/GROUP/VERSION, then optionally
// namespaces/NAMESPACE, then RESOURCE[/NAME[/SUBRESOURCE]].
func parse(w http.ResponseWriter, r *http.Request) (*call, bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var group, version string
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		group, version, parts = parts[1], parts[2], parts[3:]
	default:
		return nil, false
	}
	c := &call{Request: r, w: w, dryRun: slices.Contains(r.URL.Query()["dryRun"], metav1.DryRunAll)}
	inNamespace := parts[0] == "namespaces" && len(parts) >= 3 && resourceNamed(group, parts[2]) != nil
	if inNamespace {
		c.key.namespace, parts = parts[1], parts[2:]
	}
	c.resource = resourceNamed(group, parts[0])
	if c.resource == nil || c.resource.version != version || inNamespace && !c.resource.namespaced || len(parts) > 3 {
		return nil, false
	}
	if len(parts) > 1 {
		c.key.name = parts[1]
	}
	if len(parts) > 2 {
		c.subresource = parts[2]
	}
	// What has a name, and is namespaced, is named within a namespace only.
	return c, !c.resource.namespaced || inNamespace || c.key.name == "" && r.Method == http.MethodGet
}

// document returns what is served at a path of the discovery, nil for others.
func (s *Server) document(path string) any {
	switch path = strings.TrimSuffix(path, "/"); path {
	case "/version":
		major, rest, _ := strings.Cut(strings.TrimPrefix(s.Version, "v"), ".")
		minor, _, _ := strings.Cut(rest, ".")
		return version.Info{Major: major, Minor: minor, GitVersion: s.Version, GitTreeState: "clean", Platform: "linux/amd64"}
	case "/api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"}}
	case "/apis":
		return groupList()
	}
	if document := openAPI(path); document != nil {
		return document
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		if list := resourceList("", parts[1]); list != nil {
			return list
		}
	case len(parts) == 2 && parts[0] == "apis":
		for _, group := range groupList().Groups {
			if group.Name == parts[1] {
				group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
				return group
			}
		}
	case len(parts) == 3 && parts[0] == "apis":
		if list := resourceList(parts[1], parts[2]); list != nil {
			return list
		}
	}
	return nil
}

func health(path string) bool {
	return path == "/" || path == "/healthz" || path == "/livez" || path == "/readyz"
}

var (
	statusType    = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	schemaUnknown = (&resource{}).groupResource()
)

func writeJSON(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value)
}

func writeError(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	body := status.Status()
	body.TypeMeta = statusType
	writeJSON(w, int(body.Code), body)
}
