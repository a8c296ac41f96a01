{{/* Lets some in: `root`, `name` and `kind` of the target, `who` as a kind, called `whose` or as the target. */}}
{{- define "service.authorization" -}}
{{- $target := printf "%s-%s" .root.Values.name .name -}}
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: {{ $target }}
  {{- include "service.metadata" .root | nindent 2 }}
spec:
  targetRef:
    group: {{ ternary "policy.linkerd.io" "gateway.networking.k8s.io" (eq .kind "Server") }}
    kind: {{ .kind }}
    name: {{ $target }}
  requiredAuthenticationRefs:
  - group: policy.linkerd.io
    kind: {{ .who }}
    name: {{ .root.Values.name }}-{{ .whose | default .name }}
{{- end }}

{{/* A route to some methods, of the proxies of callers by the Service and of our own by the Server. */}}
{{- define "service.route" -}}
{{- if gt (len .paths) 64 }}
{{- fail (printf "%s has more than 64 methods in one route" .root.Values.name) }}
{{- end -}}
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  name: {{ .root.Values.name }}-{{ .name }}
  {{- include "service.metadata" .root | nindent 2 }}
  {{- if .timeout }}
  annotations:
    timeout.linkerd.io/request: {{ .timeout }}
    {{- if .retries }}
    retry.linkerd.io/grpc: unavailable
    retry.linkerd.io/limit: {{ .retries | quote }}
    {{- end }}
  {{- end }}
spec:
  parentRefs:
  - group: ""
    kind: Service
    name: {{ .root.Values.name }}
    port: 8081
  - group: policy.linkerd.io
    kind: Server
    name: {{ .root.Values.name }}-grpc
  rules:
  - matches:
    {{- range .paths }}
    {{- $parts := splitList "/" . }}
    - method: {type: Exact, service: {{ index $parts 1 }}, method: {{ index $parts 2 }}}
    {{- end }}
    backendRefs:
    - name: {{ .root.Values.name }}
      port: 8081
{{- end }}
