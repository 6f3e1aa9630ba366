package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Read calls each with every event of a file from the offset on, in the order of
// the lines, and returns the offset behind the last whole line: a line that is still
// being written is read the next time. A line that is whole and no event is an
// error.
func Read(path string, offset int64, each func(Event) error) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return offset, fmt.Errorf("reading the history: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("reading the history: %w", err)
	}
	lines := bufio.NewReaderSize(file, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("reading the history: %w", err)
		}
		at := offset
		offset += int64(len(line))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return offset, fmt.Errorf("%s at byte %d: %w", path, at, err)
		}
		if err := each(e); err != nil {
			return offset, err
		}
	}
}
