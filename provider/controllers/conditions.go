package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/annotations"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
)

// setTrue and setFalse set a condition; message may be empty.
func setTrue(object conditions.Setter, condition, reason, message string) {
	set(object, metav1.Condition{Type: condition, Status: metav1.ConditionTrue, Reason: reason, Message: message})
}

func setFalse(object conditions.Setter, condition, reason, message string) {
	set(object, metav1.Condition{Type: condition, Status: metav1.ConditionFalse, Reason: reason, Message: message})
}

func setUnknown(object conditions.Setter, condition, reason, message string) {
	set(object, metav1.Condition{Type: condition, Status: metav1.ConditionUnknown, Reason: reason, Message: message})
}

func setProblem(object conditions.Setter, condition string, p problem) {
	set(object, metav1.Condition{Type: condition, Status: p.status, Reason: p.reason, Message: p.message})
}

// What messages may hold, in bytes: the API server refuses a status with a longer one, of
// which it takes 32 KiB, and an event. Hosts can be many, and some messages list them.
const (
	longestMessage = 8 << 10
	longestNote    = 1000
)

func set(object conditions.Setter, c metav1.Condition) {
	c.Message = clip(c.Message, longestMessage)
	conditions.Set(object, c)
}

// clip leaves the beginning of a text that is too long.
func clip(text string, longest int) string {
	const more = " …"
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest-len(more)], "") + more
}

// stillSo has the conditions that were about a generation be about the present one, which
// a change of our own has made: they would be written again for nothing but its number.
func stillSo(object interface {
	conditions.Setter
	client.Object
}, generation int64) {
	all := slices.Clone(object.GetConditions())
	for i := range all {
		if all[i].ObservedGeneration == generation {
			all[i].ObservedGeneration = object.GetGeneration()
		}
	}
	object.SetConditions(all)
}

// initial is what a condition says before its step has been reached.
type initial struct {
	condition, reason string
}

// summarize completes the conditions and sums them up as Ready, which is what
// the first of them says that is not true: the later ones only wait for it.
func summarize(object conditions.Setter, inOrder []initial, deleting bool) {
	if !deleting {
		setFalse(object, infrav1.DeletingCondition, infrav1.NotDeletingReason, "")
	}
	ready := metav1.Condition{Type: infrav1.ReadyCondition, Status: metav1.ConditionTrue, Reason: infrav1.ReadyReason}
	for _, step := range inOrder {
		if conditions.Get(object, step.condition) == nil {
			setUnknown(object, step.condition, step.reason, "")
		}
		if c := conditions.Get(object, step.condition); ready.Status == metav1.ConditionTrue && c.Status != metav1.ConditionTrue {
			ready.Status, ready.Reason, ready.Message = c.Status, c.Reason, strings.TrimSuffix(fmt.Sprintf("%s: %s", c.Type, c.Message), ": ")
		}
	}
	if deleting {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, infrav1.NotReadyReason, "Deleting"
		if c := conditions.Get(object, infrav1.DeletingCondition); c != nil {
			ready.Reason, ready.Message = c.Reason, strings.TrimSuffix(fmt.Sprintf("%s: %s", c.Type, c.Message), ": ")
		}
	}
	set(object, ready)
}

// isPaused tells whether an object is to be left alone, and makes it say so.
func isPaused(cluster *clusterv1.Cluster, object interface {
	conditions.Setter
	client.Object
}) bool {
	var by []string
	if cluster != nil && ptr.Deref(cluster.Spec.Paused, false) {
		by = append(by, "the Cluster's spec.paused is true")
	}
	if annotations.HasPaused(object) {
		by = append(by, "the object has the annotation "+clusterv1.PausedAnnotation)
	}
	if by == nil {
		setFalse(object, infrav1.PausedCondition, clusterv1.NotPausedReason, "")
		return false
	}
	setTrue(object, infrav1.PausedCondition, clusterv1.PausedReason, "Left alone: "+strings.Join(by, ", and "))
	return true
}

// waitingReasons are part of every object's ordinary way and not worth an event.
var waitingReasons = map[string]bool{
	infrav1.NotObservedReason:                     true,
	infrav1.WaitingForIdentityReason:              true,
	infrav1.WaitingForDaemonReason:                true,
	infrav1.WaitingForClusterInfrastructureReason: true,
	infrav1.WaitingForBootstrapDataReason:         true,
	infrav1.WaitingForHostReason:                  true,
	infrav1.WaitingForVMReason:                    true,
	infrav1.WaitingForAddressReason:               true,
	infrav1.WaitingForControlPlaneReason:          true,
	infrav1.WaitingForControlPlaneEndpointReason:  true,
	infrav1.WaitingForMachinesReason:              true,
	infrav1.CreatingReason:                        true,
	infrav1.StartingReason:                        true,
	infrav1.StoppingReason:                        true,
	infrav1.RemovingReason:                        true,
	infrav1.DeletionCompletedReason:               true,
}

// tell logs Ready's change, and makes an event of it if people want to know: when it
// becomes true, and when a problem comes up that is not just waiting.
func tell(ctx context.Context, recorder events.EventRecorder, object interface {
	conditions.Getter
	runtime.Object
}, before *metav1.Condition) {
	now := conditions.Get(object, infrav1.ReadyCondition)
	if now == nil || (before != nil && before.Status == now.Status && before.Reason == now.Reason) {
		return
	}
	log.FromContext(ctx).Info("Ready has changed", "status", now.Status, "reason", now.Reason, "message", now.Message)
	switch {
	case now.Status == metav1.ConditionTrue:
		recorder.Eventf(object, nil, corev1.EventTypeNormal, now.Reason, "Reconcile", "Everything is in place")
	case !waitingReasons[now.Reason]:
		recorder.Eventf(object, nil, corev1.EventTypeWarning, now.Reason, "Reconcile", "%s", clip(now.Message, longestNote))
	}
}
