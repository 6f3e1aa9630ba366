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
	return Lines(path, offset, func(line []byte, at int64) error {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			return nil
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s at byte %d: %w", path, at, err)
		}
		return each(e)
	})
}

// Lines calls each with every whole line of a file from the offset on, and the byte at
// which it begins, and returns the offset behind the last one: a line that is still being
// written is read the next time.
func Lines(path string, offset int64, each func(line []byte, at int64) error) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return offset, fmt.Errorf("reading lines: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("reading lines: %w", err)
	}
	lines := bufio.NewReaderSize(file, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("reading lines: %w", err)
		}
		at := offset
		offset += int64(len(line))
		if err := each(line, at); err != nil {
			return offset, err
		}
	}
}
