package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// token is a host's bearer token. Its file is read again when it changes; a file
// that makes no sense leaves the token in force that was read before. A nil token
// is none.
type token struct {
	file string
	log  *slog.Logger

	mu     sync.Mutex
	stamp  os.FileInfo
	looked time.Time
	word   string
}

// readToken reads the file; without a file there is no token.
func readToken(file string, log *slog.Logger) (*token, error) {
	if file == "" {
		return nil, nil
	}
	t := &token{file: file, log: log, looked: time.Now()}
	stamp, err := os.Stat(file)
	if err == nil {
		t.stamp = stamp
		err = t.read()
	}
	if err != nil {
		return nil, fmt.Errorf("tokenFile: %w", err)
	}
	return t, nil
}

func (t *token) read() error {
	raw, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	word := strings.TrimSpace(string(raw))
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("it does not hold one word that could be a token")
	}
	t.word = word
	return nil
}

// current returns the token, after a look at its file now and then.
func (t *token) current() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.looked) < relook {
		return t.word
	}
	t.looked = time.Now()
	stamp, err := os.Stat(t.file)
	same := err == nil && t.stamp != nil && sameFile(stamp, t.stamp) || err != nil && t.stamp == nil
	t.stamp = stamp // nil where there is none; so either is told once
	if same {
		return t.word
	}
	if err == nil {
		err = t.read()
	}
	if err != nil {
		t.log.Error("a host's token cannot be read; the one read before stays in force", "file", t.file, "err", err)
	} else {
		t.log.Info("token read", "file", t.file)
	}
	return t.word
}
