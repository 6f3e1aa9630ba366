package controllers

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/config"
)

// Defaults is how a manager runs these controllers.
func Defaults() config.Controller {
	return config.Controller{
		ReconciliationTimeout: 2 * time.Minute,
		CacheSyncTimeout:      5 * time.Minute,
		// controller-runtime's priority queue of this version may lock out its
		// workers when it is shut down while items arrive: the manager would not
		// end, nor give up its lease, before its grace period is over
		// (kubernetes-sigs/controller-runtime#3538).
		UsePriorityQueue: new(false),
	}
}
