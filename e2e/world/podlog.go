package world

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podLog copies the log of a pod over several streams of it, each line once: one stream
// may stand still, and the next one begin with what the one before has told.
type podLog struct {
	// last is the time of the last line that was copied, and same is how many lines of
	// that time have been.
	last time.Time
	same int
}

// options have a stream begin no later than the first line that was not copied yet: the
// API knows whole seconds only.
func (l *podLog) options() *corev1.PodLogOptions {
	o := &corev1.PodLogOptions{Container: managerContainer, Follow: true, Timestamps: true}
	if !l.last.IsZero() {
		o.SinceTime = &metav1.Time{Time: l.last}
	}
	return o
}

// copy copies the lines of a stream, without their times, but for those that were copied
// already. A line of which a broken stream has told a part is for the next one.
func (l *podLog) copy(to io.Writer, stream io.Reader) error {
	before, skip := l.last, l.same
	for lines := bufio.NewReader(stream); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		at, text, _ := bytes.Cut(line, []byte(" "))
		switch when, err := time.Parse(time.RFC3339Nano, string(at)); {
		case err != nil: // of the kubelet, about the log
			text = line
		case when.Before(before):
			continue
		case when.Equal(before) && skip > 0:
			skip--
			continue
		case when.Equal(l.last):
			l.same++
		case when.After(l.last): // what a process says on two streams may change places
			l.last, l.same = when, 1
		}
		if _, err := fmt.Fprintf(to, "%s\n", text); err != nil {
			return err
		}
	}
}
