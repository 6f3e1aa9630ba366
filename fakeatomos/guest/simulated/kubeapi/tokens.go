package kubeapi

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BootstrapToken is what a machine shows to join a cluster: an ID that names
// the Secret in kube-system, and the secret itself.
type BootstrapToken struct {
	ID, Secret string
	// Expires is zero for a token without an end.
	Expires time.Time
	// Authenticates tells whether the token is good for API requests.
	Authenticates bool
}

// ParseBootstrapToken splits a token of the form "abcdef.0123456789abcdef".
func ParseBootstrapToken(token string) (BootstrapToken, bool) {
	id, secret, ok := strings.Cut(token, ".")
	return BootstrapToken{ID: id, Secret: secret}, ok && len(id) == 6 && len(secret) == 16
}

// Expired tells whether the token's time is over.
func (t BootstrapToken) Expired(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// Accepts tells whether the store has this token as a Secret that is not
// expired and good for authentication.
func (s *Store) Accepts(token string) bool {
	shown, ok := ParseBootstrapToken(token)
	if !ok {
		return false
	}
	found, err := s.get(secrets, key{metav1.NamespaceSystem, "bootstrap-token-" + shown.ID})
	if err != nil {
		return false
	}
	known, err := tokenFrom(found)
	return err == nil && known.Authenticates && !known.Expired(time.Now()) &&
		subtle.ConstantTimeCompare([]byte(known.ID+"."+known.Secret), []byte(token)) == 1
}

func tokenFrom(found *record) (BootstrapToken, error) {
	var secret corev1.Secret
	if err := json.Unmarshal(found.json, &secret); err != nil {
		return BootstrapToken{}, fmt.Errorf("token secret %s: %w", found.key, err)
	}
	token := BootstrapToken{
		ID: string(secret.Data["token-id"]), Secret: string(secret.Data["token-secret"]),
		Authenticates: string(secret.Data["usage-bootstrap-authentication"]) == "true",
	}
	if end := string(secret.Data["expiration"]); end != "" {
		expires, err := time.Parse(time.RFC3339, end)
		if err != nil {
			return BootstrapToken{}, fmt.Errorf("token secret %s: expiration: %w", found.key, err)
		}
		token.Expires = expires
	}
	return token, nil
}
