package world

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pods are those of a Deployment that are not being deleted, the oldest first.
func (w *World) pods(ctx context.Context, deployment client.ObjectKey) ([]corev1.Pod, error) {
	d := &appsv1.Deployment{}
	if err := w.client.Get(ctx, deployment, d); err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, err
	}
	list := &corev1.PodList{}
	if err := w.client.List(ctx, list, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods, nil
}

// pod is the one in which a manager runs.
func (w *World) pod(ctx context.Context, m *Manager) (*corev1.Pod, error) {
	pods, err := w.pods(ctx, m.deployment)
	if err != nil {
		return nil, err
	}
	if m.number >= len(pods) {
		return nil, fmt.Errorf("Deployment %s has %d pods now", m.deployment, len(pods))
	}
	return &pods[m.number], nil
}

// follower copies what a manager says in its pods to a file, and tells when it ends by
// itself.
type follower struct {
	world   *World
	manager *Manager
	name    string
	client  kubernetes.Interface
	// pod is the one that was followed last, restarts how often its container had
	// been started again, and log what of its log is there.
	pod      string
	restarts int32
	log      podLog
}

// follow follows a manager until the world goes down.
func (w *World) follow(name string) {
	f := &follower{world: w, name: name, manager: w.managers[name]}
	w.following.Go(func() {
		pause := time.NewTicker(time.Second)
		defer pause.Stop()
		for w.followed.Err() == nil {
			// What fails here is tried again: the API server may be away.
			_ = f.once(w.followed)
			select {
			case <-pause.C:
			case <-w.followed.Done():
			}
		}
	})
}

// once follows one container to its end.
func (f *follower) once(ctx context.Context) error {
	if f.client == nil {
		c, err := kubernetes.NewForConfig(f.world.config)
		if err != nil {
			return err
		}
		f.client = c
	}
	pod, err := f.world.pod(ctx, f.manager)
	if err != nil {
		return err
	}
	if pod.Name != f.pod {
		f.pod, f.restarts, f.log = pod.Name, 0, podLog{}
	}
	f.tellEnd(pod)
	said, err := f.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, f.log.options()).Stream(ctx)
	if err != nil {
		return err
	}
	defer said.Close()
	if err := os.MkdirAll(filepath.Dir(f.manager.log), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(f.manager.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	defer f.lookAround(ctx, pod.Name)()
	return f.log.copy(file, said)
}

// lookAround looks for ends in the pod while its log is read, until the function that it
// returns is called: what is read may be of a container that was started again after the
// last look, and the end of the one before it must not wait for its own.
func (f *follower) lookAround(ctx context.Context, pod string) func() {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			// What fails here is tried again: the API server may be away.
			if now, err := f.world.pod(ctx, f.manager); err == nil && now.Name == pod {
				f.tellEnd(now)
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

// tellEnd tells the world of ends that it has not been told of.
func (f *follower) tellEnd(pod *corev1.Pod) {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != managerContainer || status.RestartCount <= f.restarts {
			continue
		}
		f.restarts = status.RestartCount
		state := "its container was started again"
		if ended := status.LastTerminationState.Terminated; ended != nil {
			state = fmt.Sprintf("exit status %d, %s", ended.ExitCode, ended.Reason)
		}
		f.world.processes.ended(&ExitError{Name: f.name, State: state, Log: f.manager.log, Tail: tail(f.manager.log)})
	}
}
