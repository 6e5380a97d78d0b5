package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	senders   = 8
	bodyBytes = 1024
)

// load sends from several goroutines until a line comes in; a key is written only after SEND_OK.
func load(c *clients, journal string) error {
	p, err := c.producer("load", 0)
	if err != nil {
		return err
	}
	file, err := os.Create(journal)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	var lock sync.Mutex
	var stop atomic.Bool
	var failed atomic.Int64
	var all sync.WaitGroup
	for t := 0; t < senders; t++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; !stop.Load(); i++ {
				key := fmt.Sprintf("k%d-%d", t, i)
				if acknowledged(p, c.topic("load"), key) {
					lock.Lock()
					_, _ = out.WriteString(key + "\n")
					lock.Unlock()
				} else {
					failed.Add(1)
				}
			}
		}()
	}
	fmt.Println("LOAD started")
	lines.Scan()
	stop.Store(true)
	all.Wait()
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Printf("LOAD stopped, %d sends failed\n", failed.Load())
	return p.Shutdown()
}

func acknowledged(p rocketmq.Producer, topic, key string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	m := primitive.NewMessage(topic, body(key, bodyBytes)).WithKeys([]string{key})
	result, err := p.SendSync(ctx, m)
	if err != nil {
		time.Sleep(5 * time.Millisecond)
		return false
	}
	return result.Status == primitive.SendOK
}

// verify reads the whole topic and looks up every key of the journal, body included.
func verify(c *clients, journal string) (int, error) {
	content, err := os.ReadFile(journal)
	if err != nil {
		return 2, err
	}
	missing := map[string]bool{}
	for _, key := range strings.Fields(string(content)) {
		missing[key] = true
	}
	acknowledged, read, damaged := len(missing), 0, 0
	err = readAll(c, func(m *primitive.MessageExt) bool {
		read++
		key := strings.TrimSpace(m.GetKeys())
		if bytes.Equal(m.Body, body(key, bodyBytes)) {
			delete(missing, key)
		} else {
			damaged++
		}
		return len(missing) == 0
	})
	if err != nil {
		return 2, err
	}
	fmt.Printf("VERIFY acknowledged %d read %d missing %d damaged %d\n", acknowledged, read,
		len(missing), damaged)
	shown := 0
	for key := range missing {
		if shown++; shown <= 5 {
			fmt.Println("LOST", key)
		}
	}
	if len(missing) > 0 || damaged > 0 {
		return 1, nil
	}
	return 0, nil
}

// readAll pulls queue by queue from 0: this client's Poll takes one message a pull, too slow here.
func readAll(c *clients, take func(*primitive.MessageExt) bool) error {
	topic := c.topic("load")
	queues, err := c.queues(topic)
	if err != nil {
		return err
	}
	p, err := directPuller(c, "verify", topic)
	if err != nil {
		return err
	}
	defer func() { _ = p.Shutdown() }()
	for _, queue := range queues {
		for offset := int64(0); ; {
			result, err := p.PullFrom(context.Background(), queue, offset, 32)
			if err != nil {
				return err
			}
			if result.Status != primitive.PullFound {
				break
			}
			for _, m := range result.GetMessageExts() {
				if take(m) {
					return nil
				}
			}
			offset = result.NextBeginOffset
			if offset >= result.MaxOffset {
				// One more pull would be held for half a minute: nothing comes any more.
				break
			}
		}
	}
	return nil
}
