package controllers

import (
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nameFor makes a name for AtomOS from an object's name, for people, and from
// its UID, which makes it unique. It is at most longest+9 characters long, and
// is written down before it is used: an object that is moved gets another UID.
func nameFor(object client.Object, longest int) string {
	stem := strings.ReplaceAll(object.GetName(), ".", "-")
	if len(stem) > longest {
		stem = strings.TrimRight(stem[:longest], "-")
	}
	unique, _, _ := strings.Cut(string(object.GetUID()), "-")
	return stem + "-" + unique
}
