package simulated

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// call is a command that has curl send a request, by which a seed can have its
// machine ask or tell somebody before it becomes a node.
type call struct {
	method, url, body string
	header            http.Header
	// insecure takes any certificate, and fail makes an error of an answer of 400
	// or more; every is whether such an error is worth another try too.
	insecure, fail, every bool
	// retries is how often it is tried again, and delay for how long it waits before.
	retries int
	delay   time.Duration
}

// callTimeout is for how long a guest waits for an answer.
const callTimeout = 10 * time.Second

// readCall reads a command; nil for one that is not curl's, or says what is not
// simulated: long options other than these.
func readCall(command string) *call {
	words := shellWords(command)
	if len(words) == 0 || words[0] != "curl" {
		return nil
	}
	c := &call{header: http.Header{}}
	options := flag.NewFlagSet(words[0], flag.ContinueOnError)
	options.SetOutput(io.Discard)
	options.Bool("silent", false, "")
	options.BoolVar(&c.insecure, "insecure", false, "")
	options.BoolVar(&c.fail, "fail", false, "")
	options.StringVar(&c.method, "request", "", "")
	options.StringVar(&c.body, "data", "", "")
	options.Func("header", "", func(line string) error {
		name, value, _ := strings.Cut(line, ":")
		c.header.Add(name, strings.TrimSpace(value))
		return nil
	})
	options.IntVar(&c.retries, "retry", 0, "")
	options.BoolVar(&c.every, "retry-all-errors", false, "")
	seconds := options.Int("retry-delay", 1, "")
	if options.Parse(words[1:]) != nil || options.NArg() != 1 {
		return nil
	}
	c.url, c.delay = options.Arg(0), time.Duration(*seconds)*time.Second
	return c
}

// shellWords splits a command as a shell does one that has quotes and nothing else
// that is special.
func shellWords(command string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	begun := false
	for _, r := range command {
		switch {
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case r == quote:
			quote = 0
		case quote == 0 && strings.ContainsRune(" \t\n", r):
			if begun {
				words, begun = append(words, word.String()), false
				word.Reset()
			}
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// run sends the request from a machine's own address until it succeeds, or is not
// worth another try; nothing comes through while the network is cut. The error is
// the last one, and quotes nothing of the seed.
func (c *call) run(ctx context.Context, from netip.Addr, cut func() bool) error {
	for tries := 0; ; tries++ {
		again, err := true, errCut
		if !cut() {
			again, err = c.try(ctx, from)
		}
		if err == nil || !again || tries >= c.retries || !sleep(ctx, c.delay) {
			return err
		}
	}
}

// try sends the request once, and tells whether another try is asked for.
func (c *call) try(ctx context.Context, from netip.Addr) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	method := c.method
	if method == "" && c.body != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url, strings.NewReader(c.body))
	if err != nil {
		return false, &SeedError{"curl is given no URL"}
	}
	request.Header = c.header.Clone()
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return dialFrom(ctx, from, address) },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: c.insecure, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	response, err := client.Do(request)
	if err != nil {
		return true, errors.New("curl: nobody answers")
	}
	defer response.Body.Close()
	if c.fail && response.StatusCode >= http.StatusBadRequest {
		passing := response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests
		return c.every || passing, fmt.Errorf("curl: the answer is %s", response.Status)
	}
	return false, nil
}
