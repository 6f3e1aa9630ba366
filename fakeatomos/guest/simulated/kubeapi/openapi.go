package kubeapi

import "strings"

// openAPI is the part of an OpenAPI document that tells a client that the
// server checks fields itself. kubectl apply asks for it before it sends
// anything.
func openAPI(path string) any {
	const root = "/openapi/v3"
	rest, ok := strings.CutPrefix(path, root)
	if !ok {
		return nil
	}
	if rest == "" {
		versions := content{}
		for _, r := range resources {
			versions[versionPath(r)] = content{"serverRelativeURL": root + "/" + versionPath(r)}
		}
		return content{"paths": versions}
	}
	paths := content{}
	for _, r := range resources {
		if "/"+versionPath(r) != rest {
			continue
		}
		name := "/" + versionPath(r) + "/" + r.name + "/{name}"
		if r.namespaced {
			name = "/" + versionPath(r) + "/namespaces/{namespace}/" + r.name + "/{name}"
		}
		paths[name] = content{"patch": content{
			"x-kubernetes-group-version-kind": content{"group": r.group, "version": r.version, "kind": r.kind},
			"parameters":                      []any{content{"name": "fieldValidation", "in": "query", "schema": content{"type": "string"}}},
			"responses":                       content{},
		}}
	}
	if len(paths) == 0 {
		return nil
	}
	return content{"openapi": "3.0.0", "info": content{"title": "Kubernetes", "version": "unversioned"}, "paths": paths}
}

func versionPath(r *resource) string {
	if r.group == "" {
		return "api/" + r.version
	}
	return "apis/" + r.group + "/" + r.version
}
