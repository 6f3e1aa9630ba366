#!/bin/sh
# Lays the provider out as a local repository of clusterctl:
#   provider/release.sh KUBECTL DIRECTORY [VERSION]
# writes DIRECTORY/infrastructure-elemento/VERSION/, to which a clusterctl
# configuration points by
#   providers:
#   - name: elemento
#     type: InfrastructureProvider
#     url: DIRECTORY/infrastructure-elemento/VERSION/infrastructure-components.yaml
set -eu

if [ $# -lt 2 ]; then
	echo "usage: $0 KUBECTL DIRECTORY [VERSION]" >&2
	exit 2
fi
kubectl=$1
version=${3:-v0.1.0}
release=$2/infrastructure-elemento/$version
provider=$(dirname "$0")

mkdir -p "$release"
"$kubectl" kustomize "$provider/config/default" >"$release/infrastructure-components.yaml"
cp "$provider/metadata.yaml" "$provider"/templates/cluster*.yaml "$release/"
