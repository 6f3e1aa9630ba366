// Caller is what runs in the pods of the suite on real nodes: it says who called it, and
// calls others when it is told to. It listens on port 8080.
//
//	GET /            says which pod answers, and which address it was called from
//	GET /call?url=…  says what is answered there
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// callTime is how long another one may take to answer.
const callTime = 5 * time.Second

// client makes a connection for each call: one that was made before a Service was known
// on the node has left the cluster, and would go on leading out of it.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	handler := http.NewServeMux()
	handler.HandleFunc("GET /{$}", answer)
	handler.HandleFunc("GET /call", call)
	server := &http.Server{Addr: ":8080", Handler: handler, ReadHeaderTimeout: callTime}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); ctx.Err() == nil {
		log.Fatal(err)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	pod, err := os.Hostname()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]string{"pod": pod, "calledFrom": from}); err != nil {
		log.Print(err)
	}
}

func call(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.FormValue("url"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply, err := client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer reply.Body.Close()
	w.WriteHeader(reply.StatusCode)
	if _, err := io.Copy(w, reply.Body); err != nil {
		log.Print(err)
	}
}
