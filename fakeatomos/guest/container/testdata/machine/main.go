// Command machine is the first and only process of a guest in tests: it tells over
// HTTP what it finds, and heeds its power button unless its seed says "deaf".
package main

import (
	"bytes"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const powerButton = syscall.Signal(34 + 3) // SIGRTMIN+3

var held []byte

func main() {
	boots := count("/var/boots") // on the volume
	root := count("/boots")      // on the container's own disk
	seed, _ := os.ReadFile("/var/lib/cloud/seed/nocloud/user-data")
	pressed := make(chan os.Signal, 1)
	signal.Notify(pressed, powerButton)
	go func() {
		for range pressed {
			if !strings.Contains(string(seed), "deaf") {
				log.Println(syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF))
			}
		}
	}()
	http.HandleFunc("/boots", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, boots, root) })
	http.HandleFunc("/hostname", func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		fmt.Fprint(w, name)
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		content, err := os.ReadFile(r.FormValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(content)
	})
	http.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		mib, _ := strconv.Atoi(r.FormValue("mib"))
		held = bytes.Repeat([]byte{1}, mib<<20)
		fmt.Fprint(w, len(held))
	})
	http.HandleFunc("/spin", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("for"))
		for end := time.Now().Add(d); time.Now().Before(end); {
		}
	})
	http.HandleFunc("/off", func(http.ResponseWriter, *http.Request) {
		log.Println(syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF))
	})
	http.HandleFunc("/reboot", func(http.ResponseWriter, *http.Request) {
		log.Println(syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART))
	})
	log.Fatal(http.ListenAndServe(":80", nil))
}

// count adds one to the number in a file.
func count(name string) int {
	raw, _ := os.ReadFile(name)
	n, _ := strconv.Atoi(string(raw))
	n++
	if err := os.WriteFile(name, []byte(strconv.Itoa(n)), 0o600); err != nil {
		log.Fatal(err)
	}
	return n
}
