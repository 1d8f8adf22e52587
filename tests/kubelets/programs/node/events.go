package node

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"sync"
)

// Event is one line on standard output.
type Event map[string]interface{}

// Command is one line on standard input.
type Command struct {
	ID        int    `json:"id"`
	Command   string `json:"command"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Resource  string `json:"resource"`
	Count     int64  `json:"count"`
	// Further are more resources that the container wants, with their counts.
	Further map[string]int64 `json:"further"`
	Seconds int64            `json:"seconds"`
}

var (
	output sync.Mutex
	events = os.Stdout
)

func init() {
	os.Stdout = os.Stderr // some releases print, and that is no event
}

func tell(event Event) {
	line, err := json.Marshal(event)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	events.Write(append(line, '\n'))
}

func commands(input io.Reader, run func(Command)) error {
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		var command Command
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			return err
		}
		run(command)
	}
	return lines.Err()
}
