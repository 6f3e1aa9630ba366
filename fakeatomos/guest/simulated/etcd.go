package simulated

import (
	"context"
	"errors"
	"net"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

const etcdVersion = "3.6.8"

var (
	errNoMember         = errors.New("etcd has no such member")
	errNotLeader        = errors.New("the member is not the leader")
	errNotEnoughStarted = errors.New("the members left would have no majority")
)

// etcdServer answers for one member. It has the cluster and maintenance
// services, which are what Cluster API uses; keys and values are the API
// server's affair and have no other door.
type etcdServer struct {
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer
	node *node
}

// serveEtcd runs the etcd member of this control plane.
func (cp *controlPlane) serveEtcd(s *service) {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(cp.etcd)),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if !s.begin() {
				return nil, status.Error(codes.Unavailable, "etcd is stopping")
			}
			defer s.end()
			return handle(ctx, request)
		}),
	)
	member := &etcdServer{node: cp.node}
	pb.RegisterClusterServer(server, member)
	pb.RegisterMaintenanceServer(server, member)
	s.run(func(l net.Listener) { _ = server.Serve(l) }, server.Stop)
}

// Status answers without a majority too, as the real one does.
func (e *etcdServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	c := e.node.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	header, err := e.headerLocked()
	if err != nil {
		return nil, err
	}
	answer := &pb.StatusResponse{Header: header, Version: etcdVersion, DbSize: 4 << 20, DbSizeInUse: 2 << 20, RaftTerm: 2, RaftIndex: 1, RaftAppliedIndex: 1}
	if c.quorum {
		answer.Leader = c.leader
	} else {
		answer.Errors = []string{"etcdserver: no leader"}
	}
	return answer, nil
}

func (e *etcdServer) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	c := e.node.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	header, err := e.headerLocked()
	if err != nil {
		return nil, err
	}
	if !c.quorum {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return &pb.MemberListResponse{Header: header, Members: c.membersLocked()}, nil
}

func (e *etcdServer) MemberRemove(_ context.Context, request *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	c := e.node.cluster
	if err := c.removeMember(request.ID); err != nil {
		return nil, etcdError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	header := &pb.ResponseHeader{ClusterId: c.etcdID, RaftTerm: 2}
	if own := c.memberOf(e.node); own != nil {
		header.MemberId = own.id
	}
	return &pb.MemberRemoveResponse{Header: header, Members: c.membersLocked()}, nil
}

// Alarm lists no alarms: a simulated disk is never full.
func (e *etcdServer) Alarm(_ context.Context, request *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if request.Action != pb.AlarmRequest_GET {
		return nil, status.Error(codes.Unimplemented, "alarms can only be listed")
	}
	c := e.node.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	header, err := e.headerLocked()
	if err != nil {
		return nil, err
	}
	if !c.quorum {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return &pb.AlarmResponse{Header: header}, nil
}

func (e *etcdServer) MoveLeader(_ context.Context, request *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	c := e.node.cluster
	if err := c.moveLeader(e.node, request.TargetID); err != nil {
		return nil, etcdError(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	header, err := e.headerLocked()
	if err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{Header: header}, nil
}

func (e *etcdServer) headerLocked() (*pb.ResponseHeader, error) {
	c := e.node.cluster
	own := c.memberOf(e.node)
	if own == nil {
		return nil, rpctypes.ErrGRPCStopped
	}
	return &pb.ResponseHeader{ClusterId: c.etcdID, MemberId: own.id, RaftTerm: 2}, nil
}

func (c *cluster) membersLocked() []*pb.Member {
	members := make([]*pb.Member, len(c.members))
	for i, m := range c.members {
		address := m.node.vm.Address.String()
		members[i] = &pb.Member{
			ID: m.id, Name: m.node.name,
			PeerURLs: []string{"https://" + address + ":2380"}, ClientURLs: []string{"https://" + address + ":2379"},
		}
	}
	return members
}

func etcdError(err error) error {
	switch {
	case errors.Is(err, errNoQuorum):
		return rpctypes.ErrGRPCNoLeader
	case errors.Is(err, errNoMember):
		return rpctypes.ErrGRPCMemberNotFound
	case errors.Is(err, errNotLeader):
		return rpctypes.ErrGRPCNotLeader
	case errors.Is(err, errNotEnoughStarted):
		return rpctypes.ErrGRPCMemberNotEnoughStarted
	}
	return status.Error(codes.Internal, err.Error())
}
