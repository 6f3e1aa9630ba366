package world

import "io"

// Options say what a world is made of. The zero value is fine.
type Options struct {
	// Dir is where logs and rendered manifests are kept. When empty they lie
	// with the state and go with it.
	Dir string
	// Progress is told in lines of text what is being done; nil for silence.
	Progress io.Writer
}

func (o Options) progress() io.Writer {
	if o.Progress == nil {
		return io.Discard
	}
	return o.Progress
}
