package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func directPuller(c *clients, group, topic string) (rocketmq.PullConsumer, error) {
	p, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer([]string{c.namesrv}),
		consumer.WithGroupName(c.prefix+"-"+group),
		consumer.WithInstance(c.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset),
		consumer.WithConsumerModel(consumer.BroadCasting),
	)
	if err != nil {
		return nil, err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	if err := p.Subscribe(topic, selector); err != nil {
		return nil, err
	}
	return p, p.Start()
}

// capture is a short session with small bodies that touches every request code, for the captures.
func capture(c *clients) error {
	topic := c.topic("c")
	p, err := c.producer("p", 2)
	if err != nil {
		return err
	}
	s := &suite{c: c, p: p, topic: topic, hashes: map[string]string{},
		keysOf: map[string][]string{}, errors: map[string]error{}}
	m := s.message("TagA", "key-1", []byte("sync body"))
	m.WithProperty("place", "Zürich 東京")
	if err := s.send(m); err != nil {
		return err
	}
	done := make(chan error, 1)
	if err := p.SendAsync(context.Background(),
		func(_ context.Context, _ *primitive.SendResult, err error) { done <- err },
		s.message("TagB", "key-2", []byte("async body"))); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	if err := p.SendOneWay(context.Background(),
		s.message("", "key-3", []byte("one-way body"))); err != nil {
		return err
	}
	_, err = p.SendSync(context.Background(), s.message("TagA", "batch-0", []byte("batch body 0")),
		s.message("TagA", "batch-1", []byte("batch body 1")))
	if err != nil {
		return err
	}
	if err := s.send(s.message("", "key-4", compressible("key-4", 6000))); err != nil {
		return err
	}
	if err := captureConsumers(c, topic); err != nil {
		return err
	}
	return p.Shutdown()
}

func captureConsumers(c *clients, topic string) error {
	wishes := []wish{
		{tags: "*", from: consumer.ConsumeFromFirstOffset},
		{tags: "TagA || TagB", from: consumer.ConsumeFromFirstOffset},
		{tags: "*", from: consumer.ConsumeFromLastOffset, broadcast: true},
		{tags: "*", from: consumer.ConsumeFromTimestamp, broadcast: true,
			timestamp: time.Now().Add(-time.Minute).UTC().Format("20060102150405")},
	}
	var started []*push
	for i, w := range wishes {
		w := w
		p, err := c.push(fmt.Sprintf("g%d", i), topic, w)
		if err != nil {
			return err
		}
		started = append(started, p)
	}
	within(10*time.Second, func() bool {
		return started[0].count() >= 6 && started[1].count() >= 4 && started[3].count() >= 6
	})
	second, err := c.push("g0", topic, wishes[0])
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	second.close()
	for _, p := range started {
		p.close()
	}
	pulled := 0
	err = pullAll(c, "l", topic, 3*time.Second, func(*primitive.MessageExt) bool {
		pulled++
		return pulled >= 6
	})
	fmt.Println("CAPTURE push", started[0].count(), "tagged", started[1].count(), "pulled", pulled)
	return err
}
