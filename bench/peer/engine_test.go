package main

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

func TestTheEngineAnswersDockersOwnClient(t *testing.T) {
	t.Parallel()
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().(*net.TCPAddr)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := startEngine(t.Context(), "127.0.0.1", address.Port)
	if err != nil {
		t.Fatal(err)
	}
	docker, err := client.New(client.WithHost("tcp://" + address.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		t.Errorf("a ping: %v", err)
	}
	said, err := docker.Info(ctx, client.InfoOptions{})
	if err != nil || said.Info.NCPU < 1 || said.Info.MemTotal == 0 {
		t.Errorf("of its machine it says %d processors and %d bytes: %v", said.Info.NCPU, said.Info.MemTotal, err)
	}
	if err := e.close(); err != nil {
		t.Errorf("its end: %v", err)
	}
	if _, err := docker.Ping(ctx, client.PingOptions{}); err == nil {
		t.Error("it answers after its end")
	}
}
