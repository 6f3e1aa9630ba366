package suite

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupts tells who interrupts a suite what becomes of it; Ginkgo, which sees
// the same signals, does it.
type interrupts struct {
	progress io.Writer
	signals  chan os.Signal
	over     sync.WaitGroup

	mu sync.Mutex
	// doing is what goes on, and during what went on at the first interrupt.
	doing, during string
}

func tellInterrupts(progress io.Writer) *interrupts {
	i := &interrupts{progress: progress, signals: make(chan os.Signal, 1), doing: "bringing up the world"}
	signal.Notify(i.signals, os.Interrupt, syscall.SIGTERM)
	i.over.Go(func() {
		for range i.signals {
			i.tell()
		}
	})
	return i
}

func (i *interrupts) tell() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.during != "" {
		fmt.Fprintln(i.progress, "\ninterrupted again: what was made on AtomOS and on a plane that was there before may stay there")
		return
	}
	i.during = i.doing
	fmt.Fprintf(i.progress, "\ninterrupted: %s; what it has made and started is taken down now\n", i.during)
}

// now says what goes on.
func (i *interrupts) now(doing string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.doing = doing
}

// end stops to listen, and returns what was interrupted, if something was.
func (i *interrupts) end() string {
	signal.Stop(i.signals)
	close(i.signals)
	i.over.Wait()
	return i.during
}
