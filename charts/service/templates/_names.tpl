{{/* Names, labels and the rules that a schema cannot say. */}}

{{- define "service.selector" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "service.labels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/component: {{ .Values.kind }}
app.kubernetes.io/part-of: {{ .Values.partOf }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "service.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "service.labels" . | nindent 2 }}
{{- end }}

{{/* Of the Deployment and its pods alone: nothing else changes with an image. */}}
{{- define "service.version" -}}
app.kubernetes.io/version: {{ .Values.image.digest | trimPrefix "sha256:" | trunc 12 | quote }}
{{- end }}

{{/* The ports by name. */}}
{{- define "service.ports" -}}
http: 8080
grpc: 8081
admin: 9090
{{- end }}

{{/* The services that it calls, as a JSON list. */}}
{{- define "service.calls" -}}
{{- if kindIs "string" .Values.calls }}
{{- without .Values.contract.everybody .Values.name | toJson }}
{{- else }}
{{- .Values.calls | toJson }}
{{- end }}
{{- end }}

{{- define "service.prefix" -}}
{{ tpl .Values.resourcePrefix . }}
{{- end }}

{{/* The Secret with the certificate by which Kafka knows it. */}}
{{- define "service.kafkaUser" -}}
{{- if eq .Values.kafka.users "shared" }}{{ .Values.name }}-kafka{{ else }}{{ include "service.prefix" . }}{{ .Values.name }}{{ end }}
{{- end }}

{{/* Refuses what would be wrong in a cluster, and what no schema sees. */}}
{{- define "service.check" -}}
{{- with .Values }}
{{- if ne .name $.Release.Name }}
{{- fail (printf "the release is called %s, the service %s: they must be the same" $.Release.Name .name) }}
{{- end }}
{{- if lt (int .scaling.min) (int .environment.replicasMin) }}
{{- fail (printf "%s has %d replicas at least, and %s wants %d" .name (int .scaling.min) .environment.name (int .environment.replicasMin)) }}
{{- end }}
{{- if gt (int .scaling.min) (int .scaling.max) }}
{{- fail (printf "%s cannot have from %d to %d replicas" .name (int .scaling.min) (int .scaling.max)) }}
{{- end }}
{{- if and .contract.methods (not (has "grpc" .ports)) }}
{{- fail (printf "%s has methods and no port for them" .name) }}
{{- end }}
{{- if and (or .kafka.hears .contract.publishes) (not (has "kafka" .needs)) }}
{{- fail (printf "%s has topics and does not need kafka" .name) }}
{{- end }}
{{- end }}
{{- end }}
