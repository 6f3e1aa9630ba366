package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// watchTimeout ends a watch whose client names no timeout.
const watchTimeout = 30 * time.Minute

// watch streams the changes of a collection until its timeout, the end of the
// connection, or until the client is too slow to follow.
func (s *Server) watch(c *call) error {
	sel, err := c.selection()
	if err != nil {
		return err
	}
	query := c.URL.Query()
	timeout := watchTimeout
	if seconds, err := strconv.ParseUint(query.Get("timeoutSeconds"), 10, 31); err == nil && seconds > 0 {
		timeout = time.Duration(seconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(c.Context(), timeout)
	defer cancel()

	var out bytes.Buffer
	var revision uint64
	from, initial := query.Get("resourceVersion"), query.Get("sendInitialEvents") == "true"
	if from == "" || from == "0" || initial {
		var records []*record
		records, revision = s.Store.list(c.resource, c.key.namespace, sel)
		for _, found := range records {
			writeEvent(&out, watch.Added, found.json)
		}
		if initial {
			end := fmt.Sprintf(`{"kind":"%s","apiVersion":"%s","metadata":{"resourceVersion":"%d","annotations":{"%s":"true"}}}`,
				c.resource.kind, c.resource.apiVersion(), revision, metav1.InitialEventsAnnotationKey)
			writeEvent(&out, watch.Bookmark, []byte(end))
		}
	} else {
		if revision, err = strconv.ParseUint(from, 10, 64); err != nil {
			return apierrors.NewBadRequest("resourceVersion is not a number")
		}
		if _, _, ok := s.Store.since(revision); !ok {
			return tooOld
		}
	}

	c.w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	c.w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(c.w)
	for {
		changes, changed, ok := s.Store.since(revision)
		if !ok {
			body, _ := json.Marshal(tooOld.ErrStatus)
			writeEvent(&out, watch.Error, body)
		}
		for _, change := range changes {
			revision = change.current.revision
			if change.resource == c.resource && (c.key.namespace == "" || c.key.namespace == change.current.key.namespace) {
				writeChange(&out, change, sel)
			}
		}
		if _, err := c.w.Write(out.Bytes()); err != nil {
			return nil // the client is gone
		}
		out.Reset()
		if control.Flush() != nil || !ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

var tooOld = apierrors.NewResourceExpired("the resource version is too old; list again")

// writeChange writes the event that a client sees who knows the selected
// objects only: an object that comes to match is new to it.
func writeChange(out *bytes.Buffer, c change, sel selection) {
	was := sel.matches(c.old)
	is := c.kind != watch.Deleted && sel.matches(c.current)
	switch {
	case is && was:
		writeEvent(out, watch.Modified, c.current.json)
	case is:
		writeEvent(out, watch.Added, c.current.json)
	case was:
		writeEvent(out, watch.Deleted, c.current.json)
	}
}

func writeEvent(out *bytes.Buffer, kind watch.EventType, object []byte) {
	fmt.Fprintf(out, `{"type":"%s","object":%s}`+"\n", kind, object)
}
